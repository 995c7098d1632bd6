extension ManagementClient {
  public func volumes(ofPool pool: String?) async throws(APIError) -> [VolumeInfo] {
    try await call(.GET, pool.map { ["volumes", $0] } ?? ["volumes"], slow: true)
  }

  public func volumes(of path: VirtualDiskPath) async throws(APIError) -> [VolumeInfo] {
    try await call(.GET, ["volumes", path.pool, path.name], slow: true)
  }

  public func volumesWithoutContent(of path: VirtualDiskPath) async throws(APIError) -> [VolumeInfo] {
    try await get("volumes", path.pool, path.name, "exports")
  }
}
