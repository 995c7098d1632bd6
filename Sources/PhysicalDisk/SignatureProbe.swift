import CLinux
import Glibc

/// Something on a disk that says whose it is: a file system, a partition table, a member of a RAID or of a volume group.
public struct FoundSignature: Equatable, Sendable, CustomStringConvertible {
  public enum Usage: String, Sendable {
    case fileSystem, raid, crypto, partitionTable, other
  }

  public var usage: Usage
  /// libblkid's name: "ext4", "LVM2_member", "gpt", "dos", "PMBR".
  public var type: String
  public var label: String?
  public var uuid: String?
  /// Where its mark lies, in bytes from the start of the disk.
  public var offsetBytes: UInt64

  public var description: String {
    let kind =
      switch usage {
      case .fileSystem: "file system"
      case .raid: "RAID or volume group member"
      case .crypto: "encrypted volume"
      case .partitionTable: "partition table"
      case .other: "signature"
      }
    return "\(type) \(kind)\(label.map { " \"\($0)\"" } ?? "")\(uuid.map { " (\($0))" } ?? "") at byte \(offsetBytes)"
  }
}

/// One partition of a partition table that was found. Sizes in bytes.
public struct FoundPartition: Equatable, Sendable {
  public var number: Int
  /// Lower-case GUID, or MBR type ("0x83").
  public var type: String
  public var uuid: String?
  public var name: String?
  public var offsetBytes: UInt64
  public var byteCount: UInt64
}

/// All that libblkid recognises on a disk.
public struct DiskSignatures: Equatable, Sendable {
  public var signatures: [FoundSignature]
  /// Of the partition table that is in force; a damaged first GPT is replaced by its backup.
  public var partitions: [FoundPartition]

  public var isEmpty: Bool { signatures.isEmpty }
}

/// Why a disk could not be probed or wiped.
public struct SignatureError: Error, Sendable, CustomStringConvertible {
  public let errorNumber: Int32
  public let description: String
}

/// Looks for signatures with libblkid, and erases them. Blocking: for BlockingCalls; DescriptorPort has the same as async functions.
/// A disk is opened anew for it, buffered and unclaimed, because libblkid reads unaligned.
public enum SignatureProbe {
  /// The disk that is open as `descriptor`, whatever its path leads to now. `name` is for messages.
  public static func scan(descriptor: Int32, name: String) throws(SignatureError) -> DiskSignatures {
    let disk = try ProbedDisk(path: "/proc/self/fd/\(descriptor)", name: name, forWriting: false)
    return DiskSignatures(signatures: try disk.signatures(erasing: false), partitions: disk.partitions())
  }

  /// Erases every signature, backups included, and returns what there was. Durable when it returns. Only marks are overwritten: the
  /// disk's other content stays.
  public static func wipe(descriptor: Int32, name: String) throws(SignatureError) -> [FoundSignature] {
    let erased = try ProbedDisk(path: "/proc/self/fd/\(descriptor)", name: name, forWriting: true).signatures(erasing: true)
    let left = try scan(descriptor: descriptor, name: name)
    if let first = left.signatures.first {
      throw SignatureError(
        errorNumber: EIO,
        description: "\(name): \(first) is still there after it was erased. The disk does not keep what is written; replace it.")
    }
    return erased
  }
}

/// A descriptor of its own for libblkid.
private struct ProbedDisk: ~Copyable {
  private let descriptor: Int32
  private let name: String
  private let isFile: Bool

  init(path: String, name: String, forWriting: Bool) throws(SignatureError) {
    self.name = name
    descriptor = clinux_open(path, (forWriting ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK, 0)
    guard descriptor >= 0 else { throw ProbedDisk.error(name, "opening it", errno) }
    var status = stat()
    fstat(descriptor, &status)
    isFile = status.st_mode & S_IFMT == S_IFREG
  }

  deinit { if descriptor >= 0 { close(descriptor) } }

  private static func error(_ name: String, _ doing: String, _ errorNumber: Int32) -> SignatureError {
    SignatureError(
      errorNumber: errorNumber,
      description: "\(name): looking for signatures failed at \(doing): \(String(cString: strerror(errorNumber))).")
  }

  /// Also finds what lies under another signature: each one found is hidden from libblkid, or erased on the disk, before it goes on.
  borrowing func signatures(erasing: Bool) throws(SignatureError) -> [FoundSignature] {
    var found: [FoundSignature] = []
    // The partition table of an image says nothing of the sector size that it was made with.
    for sector: UInt32? in isFile ? [nil, 4096] : [nil] {
      let probe = try newProbe(sector: sector)
      defer { blkid_free_probe(probe) }
      while found.count < DiskLimits.signatureCount {
        let result = blkid_do_probe(probe)
        if result > 0 { break }
        guard result == 0 else { throw ProbedDisk.error(name, "reading it", errno == 0 ? EIO : errno) }
        guard let signature = currentSignature(probe) else { continue }
        if found.contains(where: { $0.type == signature.type && $0.offsetBytes == signature.offsetBytes }) {
          if sector == nil { break }  // it cannot be hidden; no end otherwise
        } else {
          found.append(signature)
        }
        guard blkid_do_wipe(probe, erasing ? 0 : 1) == 0 else {
          throw ProbedDisk.error(name, "erasing \(signature)", errno == 0 ? EIO : errno)
        }
      }
    }
    if erasing && fsync(descriptor) != 0 { throw ProbedDisk.error(name, "flushing it", errno) }
    return found
  }

  private func newProbe(sector: UInt32?) throws(SignatureError) -> blkid_probe {
    guard let probe = blkid_new_probe() else { throw ProbedDisk.error(name, "starting", ENOMEM) }
    guard blkid_probe_set_device(probe, descriptor, 0, 0) == 0 else {
      let number = errno
      blkid_free_probe(probe)
      throw ProbedDisk.error(name, "reading it", number == 0 ? EIO : number)
    }
    if let sector { blkid_probe_set_sectorsize(probe, sector) }
    blkid_probe_enable_superblocks(probe, 1)
    blkid_probe_set_superblocks_flags(
      probe, BLKID_SUBLKS_MAGIC | BLKID_SUBLKS_TYPE | BLKID_SUBLKS_USAGE | BLKID_SUBLKS_LABEL | BLKID_SUBLKS_UUID | BLKID_SUBLKS_BADCSUM)
    blkid_probe_enable_partitions(probe, 1)
    blkid_probe_set_partitions_flags(probe, BLKID_PARTS_MAGIC | BLKID_PARTS_FORCE_GPT)
    return probe
  }

  private func currentSignature(_ probe: blkid_probe) -> FoundSignature? {
    func value(_ name: String) -> String? {
      var data: UnsafePointer<CChar>?
      guard blkid_probe_lookup_value(probe, name, &data, nil) == 0, let data else { return nil }
      return String(cString: data)
    }
    if let type = value("TYPE") {
      let usage: FoundSignature.Usage =
        switch value("USAGE") {
        case "filesystem": .fileSystem
        case "raid": .raid
        case "crypto": .crypto
        default: .other
        }
      return FoundSignature(
        usage: usage, type: type, label: value("LABEL"), uuid: value("UUID"),
        offsetBytes: value("SBMAGIC_OFFSET").flatMap { UInt64($0) } ?? 0)
    }
    guard let type = value("PTTYPE") else { return nil }
    return FoundSignature(
      usage: .partitionTable, type: type, label: nil, uuid: value("PTUUID"),
      offsetBytes: value("PTMAGIC_OFFSET").flatMap { UInt64($0) } ?? 0)
  }

  /// Empty where there is no partition table, or none that can be read.
  borrowing func partitions() -> [FoundPartition] {
    for sector: UInt32? in isFile ? [nil, 4096] : [nil] {
      guard let probe = try? newProbe(sector: sector) else { continue }
      defer { blkid_free_probe(probe) }
      guard let list = blkid_probe_get_partitions(probe) else { continue }
      let partitions = (0..<max(0, blkid_partlist_numof_partitions(list))).compactMap { index in
        blkid_partlist_get_partition(list, index).map(ProbedDisk.partition)
      }
      if !partitions.isEmpty { return partitions }
    }
    return []
  }

  private static func partition(_ partition: blkid_partition) -> FoundPartition {
    func text(_ pointer: UnsafePointer<CChar>?) -> String? { pointer.map { String(cString: $0) } }
    let sectorByteCount: UInt64 = 512  // libblkid's unit, whatever the disk's
    return FoundPartition(
      number: Int(blkid_partition_get_partno(partition)),
      type: text(blkid_partition_get_type_string(partition)) ?? "0x" + String(blkid_partition_get_type(partition), radix: 16),
      uuid: text(blkid_partition_get_uuid(partition)), name: text(blkid_partition_get_name(partition)),
      offsetBytes: UInt64(max(0, blkid_partition_get_start(partition))) &* sectorByteCount,
      byteCount: UInt64(max(0, blkid_partition_get_size(partition))) &* sectorByteCount)
  }
}

extension DescriptorPort {
  /// What is on this disk.
  public func scanSignatures() async throws(SignatureError) -> DiskSignatures {
    let (descriptor, name) = (descriptor, facts.name)
    let result = await blocking.perform { () -> Result<DiskSignatures, SignatureError> in
      do throws(SignatureError) { return .success(try SignatureProbe.scan(descriptor: descriptor, name: name)) } catch {
        return .failure(error)
      }
    }
    return try result.get()
  }

  /// Erases what is on this disk; SignatureProbe.wipe.
  public func wipeSignatures() async throws(SignatureError) -> [FoundSignature] {
    let (descriptor, name) = (descriptor, facts.name)
    let result = await blocking.perform { () -> Result<[FoundSignature], SignatureError> in
      do throws(SignatureError) { return .success(try SignatureProbe.wipe(descriptor: descriptor, name: name)) } catch {
        return .failure(error)
      }
    }
    return try result.get()
  }
}
