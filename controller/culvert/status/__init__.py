"""What an agent says about itself: status document, health, metrics."""
