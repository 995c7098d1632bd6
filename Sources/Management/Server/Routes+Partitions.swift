import Hummingbird

// The partition tables of virtual disks, and what is on the partitions.

extension Routes {
  func addPartitionRoutes(to group: RouterGroup<Context>) {
    let backend = backend
    group.get("volumes") { request, _ in
      try await answer(request, slow: true) { () throws(APIError) in try await backend.volumes(ofPool: nil) }
    }
    group.get("volumes/:pool") { request, context in
      let pool = try Self.parameter("pool", context)
      return try await answer(request, slow: true) { () throws(APIError) in try await backend.volumes(ofPool: pool) }
    }
    group.get("volumes/:pool/:vdisk") { request, context in
      let path = try Self.virtualDiskPath(context)
      return try await answer(request, slow: true) { () throws(APIError) in try await backend.volumes(of: path) }
    }
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
