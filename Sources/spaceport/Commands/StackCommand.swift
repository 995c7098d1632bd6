import ArgumentParser
import Management

struct StackCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "stack", abstract: "Show the running layers from export to physical disk, with what each has counted.",
    discussion: "NOW is the number of requests that have begun and not ended. Latencies are from arrival at the layer to its answer.")

  @OptionGroup var client: ClientOptions

  @Argument(help: ArgumentHelp("The virtual disk; else all.", valueName: "pool/vdisk"), transform: Parse.virtualDisk)
  var path: VirtualDiskPath?

  func run() async throws {
    let roots = try await client.storage().stack(of: path)
    try client.show(roots, as: roots.isEmpty ? "No virtual disks are open." : StackTree(roots: roots).text)
  }
}
