import Management

/// Prints and checks the metadata on a disk.
/// - Parameter path: absolute path of a file or block device.
func inspectDisk(path: String, json: Bool) async throws(APIError) {
  throw APIError(.notSupported, "This build has no storage layers to read \(path) with", remedy: "Build the whole of spaceport")
}
