"""What a build says: facts, terminal, model card, bill of materials."""
