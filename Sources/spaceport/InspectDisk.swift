import Management
import Service

/// Checks a pool without a server, over its disks.
func checkPool(onDisks paths: [String]) async throws -> PoolCheckInfo { try await OfflinePoolCheck.run(paths: paths) }

/// Prints and checks the metadata on a disk. Ends with an error when something is wrong with it, or there is none.
/// - Parameters:
///   - path: absolute path of a file or block device.
///   - records: whether the text lists the metadata's records.
func inspectDisk(path: String, records: Bool, json: Bool) async throws {
  let inspection = try await DiskInspector.inspect(path: path)
  try Terminal.write(json ? JSON.text(inspection) : InspectionReport(inspection, listsRecords: records).text)
  guard inspection.isPoolDisk else {
    let content = inspection.content.isEmpty ? "nothing that is known" : inspection.content.joined(separator: ", ")
    throw APIError(.notFound, "\(path) is not a disk of a pool: it carries \(content)", remedy: "Check the path")
  }
  guard inspection.isSound else {
    throw APIError(
      .ioError, "\(path) is not sound: see the findings above", remedy: "Keep the disk as it is until the pool's data is safe elsewhere")
  }
}
