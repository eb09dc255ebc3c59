"""Relevance methods (LRP, RAP, EBP and gradients) by one walk down a network's layers."""
