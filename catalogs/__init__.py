"""What a scene is: sensors, legends, and the readers that list scenes."""
