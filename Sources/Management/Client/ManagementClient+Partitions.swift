extension ManagementClient {
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
