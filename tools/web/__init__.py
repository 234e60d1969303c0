"""The web pages as tools see them: started, opened in Chromium, photographed."""
