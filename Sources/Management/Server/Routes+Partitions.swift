import Hummingbird

// The partition tables of virtual disks.

extension Routes {
  func addPartitionRoutes(to group: RouterGroup<Context>) {
    let backend = backend
    let path: RouterPath = "partitions/:pool/:vdisk"
    group.get(path) { request, context in
      let path = try Self.virtualDiskPath(context)
      return try await answer(request) { () throws(APIError) in try await backend.partitionTable(of: path) }
    }
    group.post(path) { request, context in
      let path = try Self.virtualDiskPath(context)
      let body = try await read(CreatePartition.self, from: request)
      return try await answer(request, slow: true) { () throws(APIError) in try await backend.createPartition(on: path, body) }
    }
    group.post("partitions/:pool/:vdisk/init") { request, context in
      let path = try Self.virtualDiskPath(context)
      let body = try await read(InitPartitionTable.self, from: request)
      return try await answer(request, slow: true) { () throws(APIError) in try await backend.initPartitionTable(of: path, body) }
    }
    group.post("partitions/:pool/:vdisk/delete") { request, context in
      let path = try Self.virtualDiskPath(context)
      let body = try await read(DeletePartitions.self, from: request)
      return try await answer(request, slow: true) { () throws(APIError) in try await backend.deletePartitions(of: path, body) }
    }
    group.post("partitions/:pool/:vdisk/resize") { request, context in
      let path = try Self.virtualDiskPath(context)
      let body = try await read(ResizePartition.self, from: request)
      return try await answer(request, slow: true) { () throws(APIError) in try await backend.resizePartition(of: path, body) }
    }
    group.post("partitions/:pool/:vdisk/set") { request, context in
      let path = try Self.virtualDiskPath(context)
      let body = try await read(SetPartition.self, from: request)
      return try await answer(request, slow: true) { () throws(APIError) in try await backend.setPartition(of: path, body) }
    }
    group.post("partitions/:pool/:vdisk/repair") { request, context in
      let path = try Self.virtualDiskPath(context)
      let body = try await read(RepairPartitionTable.self, from: request)
      return try await answer(request, slow: true) { () throws(APIError) in try await backend.repairPartitionTable(of: path, body) }
    }
  }
}
