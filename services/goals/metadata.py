"""The one MetaData of the goals service, its transport tables and its audit trail."""

from shared.db.tables import audit_table, service_metadata, transport_tables

metadata = service_metadata("goals")
transport = transport_tables(metadata)
audit = audit_table(metadata)
