"""OGC API - Features and Tiles at /ogc: what QGIS and other map programs open with a user's token. Read only."""
