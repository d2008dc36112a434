from .twin import Comparison, compare, draw, table

__all__ = ["Comparison", "compare", "draw", "table"]
