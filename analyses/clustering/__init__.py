"""What tasks have in common: clusters against domains, embeddings, and the terms of the excess-risk bound."""
