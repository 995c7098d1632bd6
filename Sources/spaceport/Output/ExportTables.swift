import Management

/// How access rules are shown to a person.
enum ExportTables {
  private static let everybody = "everybody"

  static func exports(_ exports: [ExportAccess]) -> String {
    guard !exports.isEmpty else { return "No exports. Make one with spaceport vdisk create POOL/NAME --size SIZE" }
    var table = Table(
      .left("NAME"), .left("LABEL"), .left("ACCESS"), .left("FROM"), .left("TLS NAME"), .left("RULE"), .right("CLIENTS"))
    for export in exports {
      table.add(
        export.name, export.partitionLabel ?? "-", access(export), words(origins(export)), words(names(export)), rule(export),
        "\(export.clientCount)")
    }
    return table.text
  }

  static func export(_ export: ExportAccess) -> String {
    var fields = Fields()
    fields.add("Export", export.name)
    fields.add("Partition label", export.partitionLabel)
    fields.add("Access", access(export))
    fields.add("Rule", rule(export))
    fields.add("Users", list(export.allowUsers.map(String.init)))
    fields.add("Peers", list(export.allowPeers))
    fields.add("Certificates", list(export.allowCertificates))
    fields.add("Pre-shared keys", list(export.allowPSKUsers))
    fields.add("May open it", origins(export).isEmpty && names(export).isEmpty ? everybody : "who is named")
    fields.add("Clients", "\(export.clientCount)")
    return fields.text
  }

  private static func access(_ export: ExportAccess) -> String { export.readOnly ? "read-only" : "read-write" }

  private static func rule(_ export: ExportAccess) -> String {
    if export.hasOwnRule { return "own" }
    return export.name.split(separator: "/").count > 2 ? "virtual disk's" : "none"
  }

  private static func origins(_ export: ExportAccess) -> [String] { export.allowUsers.map { "uid \($0)" } + export.allowPeers }
  private static func names(_ export: ExportAccess) -> [String] { export.allowCertificates + export.allowPSKUsers.map { "psk \($0)" } }
  private static func words(_ names: [String]) -> String { names.isEmpty ? everybody : names.joined(separator: ",") }
  private static func list(_ names: [String]) -> String? { names.isEmpty ? nil : names.joined(separator: ", ") }
}
