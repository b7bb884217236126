"""What every paper on learners that adapt asks and shows: freezing, similarity, distances, and what moves."""
