"""What speed the project claims, measured side by side with what people do today. No part of the pipeline."""
