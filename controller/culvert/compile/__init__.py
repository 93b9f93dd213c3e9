"""Pure compilation of a world into what one node should hold."""

from culvert.compile.cache import CachedCompiler
from culvert.compile.node import compile_node

__all__ = ["CachedCompiler", "compile_node"]
