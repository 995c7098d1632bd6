/// What the management plane asks of the storage below it. Each function either does the whole of what it says, and then returns, or
/// changes nothing and throws. None may assume that it is called from a reactor; each may be called many times at once, and is
/// cancelled when its time limit passes or the server stops.
public protocol StorageBackend: Sendable {
  /// The server's own state.
  func status() async throws(APIError) -> ServerStatus
  /// The disks of all pools, missing ones included.
  func disks() async throws(APIError) -> [DiskInfo]
  /// The machine's block devices, or what lies in a directory, with the reasons why each cannot be pooled. Changes nothing.
  func scanDisks(_ request: ScanDisks) async throws(APIError) -> [DiskCandidateInfo]
  /// All pools that the server knows, those that wait for disks included.
  func pools() async throws(APIError) -> [PoolInfo]
  func pool(named name: String) async throws(APIError) -> PoolInfo
  func createPool(_ request: CreatePool) async throws(APIError) -> PoolInfo
  /// Opens the pools whose disks were named or found; the answer holds each of them.
  func openPools(_ request: OpenPools) async throws(APIError) -> [PoolInfo]
  /// Checks the metadata on every disk of an open pool, and what of the data is there. Changes nothing.
  func checkPool(named name: String) async throws(APIError) -> PoolCheckInfo
  /// Stops serving a pool and forgets it, and leaves its disks as they are. Refuses while a client is connected.
  func closePool(named name: String) async throws(APIError)
  /// Removes a pool and all that it holds, partition tables and signatures included. Refuses while a client is connected.
  func destroyPool(named name: String) async throws(APIError)
  /// Makes disks, whose content is lost, disks of a pool; one that was evicted from it is taken back.
  func addDisks(toPool name: String, _ request: AddDisks) async throws(APIError) -> PoolInfo
  /// `retired` does what `retireDisk` does.
  func setUsage(_ request: SetDiskUsage) async throws(APIError) -> DiskInfo
  /// Begins to empty a disk, which is released at the end; one that is missing is given up.
  func retireDisk(_ disk: DiskReference) async throws(APIError) -> JobInfo
  /// The same, onto one other disk, which is added where it is none of the pool's.
  func replaceDisk(_ request: ReplaceDisk) async throws(APIError) -> JobInfo
  func startJob(inPool name: String, _ request: StartJob) async throws(APIError) -> JobInfo
  /// The jobs of one pool, or of all; those that ended lately included.
  func jobs(ofPool pool: String?) async throws(APIError) -> [JobInfo]
  func cancelJob(inPool name: String, number: UInt64) async throws(APIError)
  /// What happened to one pool, or to all, the newest last.
  func events(ofPool pool: String?) async throws(APIError) -> [EventInfo]
  /// The read cache, of size 0 where there is none, with the disks and virtual disks of one pool, or of all.
  func cache(ofPool pool: String?) async throws(APIError) -> CacheInfo
  /// The virtual disks of one pool, or of all.
  func virtualDisks(ofPool pool: String?) async throws(APIError) -> [VirtualDiskInfo]
  func virtualDisk(at path: VirtualDiskPath) async throws(APIError) -> VirtualDiskInfo
  func createVirtualDisk(_ request: CreateVirtualDisk) async throws(APIError) -> VirtualDiskInfo
  func resizeVirtualDisk(at path: VirtualDiskPath, _ request: ResizeVirtualDisk) async throws(APIError) -> VirtualDiskInfo
  func setVirtualDisk(at path: VirtualDiskPath, _ request: SetVirtualDisk) async throws(APIError) -> VirtualDiskInfo
  /// Removes a virtual disk and its data. Refuses while a client is connected.
  func deleteVirtualDisk(at path: VirtualDiskPath) async throws(APIError)
  /// The partition table of a virtual disk, read now, with everything that is wrong with it.
  func partitionTable(of path: VirtualDiskPath) async throws(APIError) -> PartitionTableInfo
  /// Writes an empty GPT. Refuses where something would be lost, unless that is accepted, and while partitions are open, unless forced.
  func initPartitionTable(of path: VirtualDiskPath, _ request: InitPartitionTable) async throws(APIError) -> PartitionTableInfo
  func createPartition(on path: VirtualDiskPath, _ request: CreatePartition) async throws(APIError) -> PartitionTableInfo
  /// Refuses, and says what would be lost, unless that is accepted; and while one of them is open, unless forced.
  func deletePartitions(of path: VirtualDiskPath, _ request: DeletePartitions) async throws(APIError) -> PartitionTableInfo
  /// Its start stays. Refuses to make it shorter, unless that loss is accepted, and then while it is open, unless forced.
  func resizePartition(of path: VirtualDiskPath, _ request: ResizePartition) async throws(APIError) -> PartitionTableInfo
  func setPartition(of path: VirtualDiskPath, _ request: SetPartition) async throws(APIError) -> PartitionTableInfo
  /// Plans, or does, the repair of a GPT from its good copy. Refuses where a file system on the whole disk might be destroyed, or clients would
  /// lose partitions that they have open, unless forced.
  func repairPartitionTable(of path: VirtualDiskPath, _ request: RepairPartitionTable) async throws(APIError) -> PartitionRepairInfo
  /// The partitions of one pool's virtual disks, or of all, and virtual disks without a table, with what is on each. Reads a little of each.
  func volumes(ofPool pool: String?) async throws(APIError) -> [VolumeInfo]
  /// The same of one virtual disk.
  func volumes(of path: VirtualDiskPath) async throws(APIError) -> [VolumeInfo]
  /// The same without what is on each, which is told at once.
  func volumesWithoutContent(of path: VirtualDiskPath) async throws(APIError) -> [VolumeInfo]
  /// The running layers from the export down, one tree a virtual disk: that of the one named, or all.
  func stack(of path: VirtualDiskPath?) async throws(APIError) -> [StackNode]
  /// Who may open the exports of one pool, or of all.
  func exports(ofPool pool: String?) async throws(APIError) -> [ExportAccess]
  func export(at path: ExportPath) async throws(APIError) -> ExportAccess
  /// Changes who may open an export. Sessions that would not be let in any more, or not for writing, have ended when it returns.
  func setExport(_ request: SetExportAccess) async throws(APIError) -> ExportAccess
  func resetExport(_ request: ResetExportAccess) async throws(APIError) -> ExportAccess
}
