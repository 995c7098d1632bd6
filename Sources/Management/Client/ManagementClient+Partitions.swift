extension ManagementClient {
  public func volumes(ofPool pool: String?) async throws(APIError) -> [VolumeInfo] {
    try await call(.GET, pool.map { ["volumes", $0] } ?? ["volumes"], slow: true)
  }

  public func volumes(of path: VirtualDiskPath) async throws(APIError) -> [VolumeInfo] {
    try await call(.GET, ["volumes", path.pool, path.name], slow: true)
  }

  public func partitionTable(of path: VirtualDiskPath) async throws(APIError) -> PartitionTableInfo {
    try await get("partitions", path.pool, path.name)
  }

  public func createPartition(on path: VirtualDiskPath, _ request: CreatePartition) async throws(APIError) -> PartitionTableInfo {
    try await post(request, "partitions", path.pool, path.name)
  }

  public func initPartitionTable(of path: VirtualDiskPath, _ request: InitPartitionTable) async throws(APIError) -> PartitionTableInfo {
    try await post(request, "partitions", path.pool, path.name, "init")
  }

  public func deletePartitions(of path: VirtualDiskPath, _ request: DeletePartitions) async throws(APIError) -> PartitionTableInfo {
    try await post(request, "partitions", path.pool, path.name, "delete")
  }

  public func resizePartition(of path: VirtualDiskPath, _ request: ResizePartition) async throws(APIError) -> PartitionTableInfo {
    try await post(request, "partitions", path.pool, path.name, "resize")
  }

  public func setPartition(of path: VirtualDiskPath, _ request: SetPartition) async throws(APIError) -> PartitionTableInfo {
    try await post(request, "partitions", path.pool, path.name, "set")
  }

  public func repairPartitionTable(
    of path: VirtualDiskPath, _ request: RepairPartitionTable
  ) async throws(APIError) -> PartitionRepairInfo {
    try await post(request, "partitions", path.pool, path.name, "repair")
  }
}
