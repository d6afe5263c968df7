"""The one MetaData of the tracking service and its transport tables."""

from shared.db.tables import service_metadata, transport_tables

metadata = service_metadata("tracking")
transport = transport_tables(metadata)
