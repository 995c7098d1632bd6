/// What a repair would write. Making the plan changes nothing.
public struct PartitionTableRepair: Hashable, Sendable {
  /// What would be done, in words, in its order; empty when there is nothing to repair.
  public var actions: [String] = []
  /// What would be written: each step, then a flush.
  public var steps: [[DiskWrite]] = []
  /// The table as it would be; nil when there is nothing to repair.
  public var table: GPT?
}

extension PartitionTableScan {
  /// How to make both copies of the GPT, and the protective MBR, what they ought to be.
  /// - Parameter source: the copy that is believed; nil for the one that counts. A backup under something that is no table any more is believed
  ///   only where it is named.
  /// - Throws: when there is no GPT, no good copy, or a damage that no copy knows the cure of.
  public func repair(from source: GPTCopy? = nil) throws(PartitionTableRefusal) -> PartitionTableRepair {
    let source = try repairSource(source)
    guard let believed = gpt(source) else {
      throw PartitionTableRefusal(
        "The \(source) GPT is not good: \(findings.sentence)",
        remedy: "Repair from the other copy, which is the one that counts now")
    }
    var table = believed
    var plan = PartitionTableRepair()
    do throws(GPTError) {
      // Where the backup belongs follows from the disk's present size.
      let backupLBA = source == .primary ? primary?.alternateLBA : backup?.headerLBA
      if backupLBA != table.backupHeaderLBA { try table.fit(toDiskByteCount: diskByteCount) }
      let steps = try table.encodeSteps(protectiveMBR: .untouched, first: source == .primary ? .backup : .primary)
      for step in steps {
        guard let copy = step.first?.copy, !isRight(copy, as: table) else { continue }
        plan.actions.append(describe(copy, table, from: source))
        plan.steps.append(step)
      }
      if hasWrongProtectiveMBR, let step = try table.encodeSteps(protectiveMBR: protectiveMBR).dropFirst(2).first {
        plan.actions.append("write the protective MBR to sector 0; boot code there is kept")
        plan.steps.append(step)
      }
    } catch {
      throw PartitionTableRefusal(
        "The \(source) GPT is whole, but no table to be written: \(error)",
        remedy: "Which partition is right only you can say: delete or shrink the wrong one with `spaceport partition`")
    }
    if !plan.steps.isEmpty { plan.table = table }
    return plan
  }

  private func repairSource(_ source: GPTCopy?) throws(PartitionTableRefusal) -> GPTCopy {
    if findings.contains(.bootSectorOverGPT) {
      throw PartitionTableRefusal(
        "Sector 0 is the boot sector of a file system: a repair would destroy what may be the disk's only use",
        remedy: "If the partitions are what is wanted, overwrite sector 0 with zeros first")
    }
    if isBackupLeftOver && source != .backup {
      throw PartitionTableRefusal(
        "Only the backup GPT at the disk's end is left, and where the table began there is something else, most likely a file system on the "
          + "whole disk: a repair would destroy it",
        remedy: "If the partitions are what is wanted, repair with --from backup")
    }
    switch kind {
    case .gpt, .hybrid: return source ?? gptSource ?? .primary
    case .damagedGPT:
      throw PartitionTableRefusal(
        "Neither copy of the GPT is good: \(findings.sentence)",
        remedy: "There is nothing to repair it from. If its partitions are known, `spaceport partition init` and `create` make them anew")
    case .mbrOverGPT:
      throw PartitionTableRefusal(
        "The MBR has partitions and no protective entry: systems follow the MBR, and the GPT is a left-over or was overwritten",
        remedy: "Decide which of them is the table, with the tool that made it")
    case .mbr:
      throw PartitionTableRefusal("The table is an MBR, which has no second copy to repair it from", remedy: "Use the tool that made it")
    case .none, .bootSector:
      throw PartitionTableRefusal("There is no partition table", remedy: "Make one with `spaceport partition init`")
    }
  }

  /// The copy is good, at its place, and says what the table says.
  private func isRight(_ copy: GPTCopy, as table: GPT) -> Bool {
    let last = table.backupHeaderLBA
    switch copy {
    case .primary: return primary == FoundCopy(gpt: table, headerLBA: 1, alternateLBA: last)
    case .backup:
      // Where the primary's entries lie a backup does not say.
      guard var found = backup?.gpt, backup?.headerLBA == last, backup?.alternateLBA == 1 else { return false }
      found = found.withPrimaryEntries(at: table.primaryEntriesLBA)
      return found == table
    }
  }

  private var hasWrongProtectiveMBR: Bool {
    kind == .gpt
      && findings.contains {
        switch $0 {
        case .protectiveMBRMissing, .protectiveMBRSize: true
        default: false
        }
      }
  }

  private func describe(_ copy: GPTCopy, _ table: GPT, from source: GPTCopy) -> String {
    let place =
      copy == .primary
      ? "sector 1 and sectors \(table.primaryEntriesLBA) to \(table.primaryEntriesLBA.value + table.arraySectorCount - 1)"
      : "sectors \(table.backupEntriesLBA) to \(table.backupHeaderLBA)"
    let why = copy == source ? "with the changed places" : "from the \(source) copy"
    return "write the \(copy) GPT \(why) to \(place): \(table.partitions.count) partition\(table.partitions.count == 1 ? "" : "s")"
  }
}

extension GPT {
  func withPrimaryEntries(at lba: LBA) -> GPT {
    GPT(
      sectorSize: sectorSize, sectorCount: sectorCount, diskGUID: diskGUID, entryCount: entryCount, entryByteCount: entryByteCount,
      primaryEntriesLBA: lba, firstUsableLBA: firstUsableLBA, lastUsableLBA: lastUsableLBA, partitions: partitions)
  }
}
