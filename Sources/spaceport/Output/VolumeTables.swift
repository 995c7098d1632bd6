import Management

/// How volumes are shown to a person.
enum VolumeTables {
  static func volumes(_ volumes: [VolumeInfo]) -> String {
    guard !volumes.isEmpty else { return "No volumes. Make one with spaceport volume create POOL/NAME --size SIZE --fs ext4" }
    var table = Table(
      .left("NAME"), .left("CONTENT"), .left("LABEL"), .right("SIZE"), .right("USED"), .right("FREE"), .left("DEVICE"), .left("MOUNTED AT"),
      .left("UUID"))
    for volume in volumes {
      let attachments = volume.attachments ?? []
      table.add(
        volume.name, volume.content?.type ?? (volume.problem == nil ? "-" : "unknown"), volume.content?.label ?? "-",
        Figures.size(volume.sizeBytes), figure(volume.content, \.usedBytes), figure(volume.content, \.freeBytes),
        words(attachments.map(\.device)), words(attachments.flatMap(\.mountPoints)), volume.content?.uuid ?? "-")
    }
    let problems = volumes.compactMap { volume in volume.problem.map { Printable.text("\(volume.name): \($0).") } }
    return ([table.text] + problems).joined(separator: "\n")
  }

  private static func figure(_ content: ContentInfo?, _ value: KeyPath<ContentInfo, UInt64?>) -> String {
    guard let content else { return "-" }
    return content[keyPath: value].map(Figures.size) ?? (content.usage == "filesystem" ? "unknown" : "-")
  }

  private static func words(_ words: [String]) -> String { words.isEmpty ? "-" : words.joined(separator: ",") }

  static func created(_ volume: CreatedVolume) -> String {
    var fields = Fields()
    fields.add("Volume", volume.name)
    fields.add("Device", volume.device)
    fields.add("File system", volume.fileSystem)
    fields.add("Label", volume.label)
    fields.add("UUID", volume.uuid)
    fields.add("In /etc/fstab", volume.fstab)
    return fields.text
  }
}
