import CLinux

/// The probing process: ContentProbe starts it.
public enum ContentProbeProcess {
  private static let input: Int32 = 3

  /// Probes descriptor 3, answers on standard output, and ends.
  /// - Parameter arguments: those behind the command: the size of a sector, in bytes.
  public static func main(_ arguments: [String]) -> Never {
    guard arguments.count == 1, let sector = UInt32(arguments[0]), sector == 512 || sector == 4096, confine() == 0
    else { _exit(2) }
    let answer: [UInt8]
    switch probe(input, sector: sector) {
    case .found(let content): answer = ContentAnswer.encode(content)
    case .nothing: answer = ContentAnswer.encode(nil)
    case .failed: _exit(1)
    }
    _exit(write(1, answer, answer.count) == answer.count ? 0 : 1)
  }

  /// Takes from this process what it does not need. 0, or -errno.
  public static func confine() -> Int32 {
    clinux_confine(
      VolumeLimits.contentProbeCPUSeconds, VolumeLimits.contentProbeMemoryByteCount, VolumeLimits.contentProbeDescriptorCount)
  }

  static func probe(_ descriptor: Int32, sector: UInt32) -> ProbeOutcome {
    guard let probe = blkid_new_probe() else { return .failed }
    defer { blkid_free_probe(probe) }
    guard blkid_probe_set_device(probe, descriptor, 0, 0) == 0 else { return .failed }
    blkid_probe_set_sectorsize(probe, sector)
    blkid_probe_enable_superblocks(probe, 1)
    blkid_probe_set_superblocks_flags(probe, BLKID_SUBLKS_TYPE | BLKID_SUBLKS_USAGE | BLKID_SUBLKS_LABEL | BLKID_SUBLKS_UUID)
    // As mount(8) does it: of two file systems that claim one place it names neither.
    switch blkid_do_safeprobe(probe) {
    case 1: return .nothing
    case -2: return .found(FoundContent(type: "ambiguous", usage: "other"))
    case 0: break
    default: return .failed
    }
    func value(_ name: String) -> String? {
      var data: UnsafePointer<CChar>?
      guard blkid_probe_lookup_value(probe, name, &data, nil) == 0, let data else { return nil }
      let text = String(cString: data)
      return text.isEmpty ? nil : text
    }
    guard let type = value("TYPE") else { return .nothing }
    return .found(FoundContent(type: type, usage: value("USAGE") ?? "other", label: value("LABEL"), uuid: value("UUID")))
  }
}
