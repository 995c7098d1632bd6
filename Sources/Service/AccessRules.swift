import NBDServer
import PartitionTable

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// Who may open what, by the identity of virtual disks and partitions, not by their names: a new one of an old name is free of old rules. In
/// one file of the state directory, which is replaced as a whole. A file that cannot be read keeps the server from starting: nobody is let in
/// by a mishap.
struct AccessRules {
  /// What a rule is for.
  struct Target: Hashable, Codable {
    /// The virtual disk's UUID.
    var virtualDisk: String
    /// The partition's unique GUID, or of an MBR SIGNATURE-NUMBER@OFFSET; nil for the whole disk, and for partitions without a rule of their own.
    var partition: String?
  }

  private struct Entry: Codable {
    var target: Target
    var rule: AccessRule
  }

  private struct Content: Codable {
    var version = AccessRules.version
    var rules: [Entry]
  }

  /// Raised when an older program could not read the file.
  private static let version = 1
  private static let fileName = "access.json"

  private let directory: StateDirectory
  private var rules: [Target: AccessRule] = [:]

  init(_ directory: StateDirectory) throws(ServiceError) {
    self.directory = directory
    guard let data = try directory.contents(of: AccessRules.fileName) else { return }
    do {
      let content = try JSONDecoder().decode(Content.self, from: data)
      guard content.version == AccessRules.version else {
        throw ServiceError("its version is \(content.version), and this program knows \(AccessRules.version)")
      }
      for entry in content.rules { rules[entry.target] = entry.rule }
    } catch {
      throw ServiceError(
        "\(directory.path)/\(AccessRules.fileName), which says who may open what, cannot be read: \(error). Put a good copy in its place, or move "
          + "it away and set the rules again with `spaceport export set`; without it every client may open everything.")
    }
  }

  /// The rule of its own; nil when it has none.
  func own(_ target: Target) -> AccessRule? { rules[target] }

  /// What holds: a partition without a rule of its own has its virtual disk's.
  func effective(_ target: Target) -> AccessRule {
    rules[target] ?? rules[Target(virtualDisk: target.virtualDisk)] ?? .everybody
  }

  /// Of all its partitions that have one of their own, by what `Target.partition` is.
  func ofPartitions(_ virtualDisk: String) -> [String: AccessRule] {
    var found: [String: AccessRule] = [:]
    for (target, rule) in rules where target.virtualDisk == virtualDisk {
      if let partition = target.partition { found[partition] = rule }
    }
    return found
  }

  /// Of the rules that ask for a proof by TLS, how many a server with these keys lets nobody meet.
  func unmeetableCount(_ tls: TLSConfiguration?) -> Int {
    let (takesKeys, asksForCertificates) = (tls?.takesKeys == true, tls?.asksForCertificates == true)
    return rules.values.filter { rule in
      let isMeetable = !rule.pskUsers.isEmpty && takesKeys || !rule.certificates.isEmpty && asksForCertificates
      return !isMeetable && !(rule.pskUsers.isEmpty && rule.certificates.isEmpty)
    }.count
  }

  /// nil takes the rule away.
  mutating func set(_ rule: AccessRule?, of target: Target) throws(ServiceError) {
    var changed = rules
    changed[target] = rule
    try store(changed)
  }

  /// All that is said of these virtual disks, which are no more.
  mutating func forget(_ virtualDisks: Set<String>) throws(ServiceError) {
    let left = rules.filter { !virtualDisks.contains($0.key.virtualDisk) }
    if left.count < rules.count { try store(left) }
  }

  private mutating func store(_ changed: [Target: AccessRule]) throws(ServiceError) {
    let entries = changed.map { Entry(target: $0.key, rule: $0.value) }
      .sorted { ($0.target.virtualDisk, $0.target.partition ?? "") < ($1.target.virtualDisk, $1.target.partition ?? "") }
    try directory.replace(AccessRules.fileName, with: Content(rules: entries))
    rules = changed
  }
}
