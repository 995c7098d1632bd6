// Which tables may be changed.

extension PartitionTableScan {
  /// The table, where it may be changed: a GPT of which both copies and the MBR are in order. Problems of single partitions do not count:
  /// deleting those is the cure.
  /// - Throws: for anything else: changing one would destroy what another tool keeps there, or repair it unasked.
  public func editableTable() throws(PartitionTableRefusal) -> GPT {
    switch kind {
    case .none, .bootSector:
      throw PartitionTableRefusal("There is no partition table", remedy: "Make one with `spaceport partition init`")
    case .mbr:
      throw PartitionTableRefusal(
        "The table is an MBR, which is read and shown but not changed", remedy: "Change it with the tool that made it, over the export")
    case .hybrid, .mbrOverGPT:
      throw PartitionTableRefusal(
        "The MBR names partitions beside the GPT, and both would have to be changed together",
        remedy: "Change them with the tool that made them, over the export")
    case .damagedGPT, .gpt: break
    }
    let damage = findings.filter { if case .gptProblem = $0 { false } else { true } }
    guard let gpt, damage.isEmpty else {
      throw PartitionTableRefusal(
        "The table is damaged: \(damage.sentence)",
        remedy: "Repair it first: `spaceport partition repair`")
    }
    return gpt
  }
}
