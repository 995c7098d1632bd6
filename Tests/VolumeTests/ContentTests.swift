import CLinux
import Foundation
import TestSupport
import Testing

@testable import Volume

/// An image in a sparse file, as other programs make it.
struct Image {
  let directory: TemporaryDirectory
  let path: String

  init(mebibytes: Int, _ command: [String]) throws {
    directory = try TemporaryDirectory()
    path = try directory.sparseFile(byteCount: UInt64(mebibytes) << 20)
    let made = try Program.runBlocking(command + [path])
    try #require(made.status == 0, "\(made.text)")
  }

  func bytes(_ range: Range<UInt64>) throws -> [UInt8] {
    let file = try #require(FileHandle(forReadingAtPath: path))
    try file.seek(toOffset: range.lowerBound)
    return [UInt8](try file.read(upToCount: Int(range.upperBound - range.lowerBound)) ?? Data())
  }

  /// What a server would take of it.
  func sample() throws -> ContentSample {
    let byteCount = UInt64(try #require(FileManager.default.attributesOfItem(atPath: path)[.size] as? Int))
    var sample = ContentSample(byteCount: byteCount)
    let pointers = BootSectorPointers.ranges(try bytes(0..<512), byteCount: byteCount)
    for range in ContentSample.endRanges(of: byteCount) + pointers { sample.add(try bytes(range), at: range.lowerBound) }
    return sample
  }
}

/// What is on a partition, recognised by a part of it.
@Suite struct ContentTests {
  /// Probes the sample in this process.
  private func probe(_ sample: ContentSample) throws -> FoundContent? {
    let file = clinux_memory_file("test")
    try #require(file >= 0)
    defer { close(file) }
    ftruncate(file, off_t(sample.byteCount))
    for piece in sample.pieces {
      let written = piece.bytes.withUnsafeBytes { pwrite(file, $0.baseAddress, $0.count, off_t(piece.offset)) }
      try #require(written == piece.bytes.count)
    }
    switch ContentProbeProcess.probe(file, sector: 512) {
    case .found(let content): return content
    case .nothing: return nil
    case .failed: throw ProgramFailure(description: "the sample cannot be read")
    }
  }

  @Test(
    arguments: [
      (64, ["mkfs.ext4", "-q", "-L", "holiday"]), (320, ["mkfs.xfs", "-q", "-L", "holiday"]),
      (128, ["mkfs.btrfs", "-q", "-L", "holiday"]), (2048, ["mkfs.fat", "-F", "32", "-s", "8", "-n", "HOLIDAY"]),
      (64, ["mkntfs", "-F", "-q", "-f", "-s", "512", "-p", "0", "-H", "1", "-S", "1", "-L", "holiday"]), (16, ["mkswap", "-L", "holiday"]),
    ])
  func theSampleSaysWhatTheWholeDoes(mebibytes: Int, command: [String]) throws {
    let image = try Image(mebibytes: mebibytes, command)
    let found = try #require(try probe(image.sample()))
    #expect(found.label?.lowercased() == "holiday")
    let whole = try Program.runBlocking(["blkid", "-p", "-o", "export", image.path]).output
    for (key, value) in [("TYPE", found.type), ("LABEL", found.label ?? ""), ("UUID", found.uuid ?? ""), ("USAGE", found.usage)] {
      #expect(whole.split(separator: "\n").contains("\(key)=\(value)"), "\(key)=\(value) in \(whole)")
    }
  }

  /// Windows puts it 3 GiB behind the start, and a file system without it is not recognised.
  @Test func theTableOfNTFSIsLookedForWhereTheBootSectorSays() throws {
    var sector = [UInt8](repeating: 0, count: 512)
    sector.replaceSubrange(3..<11, with: Array("NTFS    ".utf8))
    (sector[510], sector[511], sector[12], sector[13]) = (0x55, 0xAA, 2, 8)
    sector[50] = 0x0C  // cluster 0xC0000
    let place: UInt64 = 3 << 30
    #expect(BootSectorPointers.ranges(sector, byteCount: 8 << 30) == [place..<(place + 65536)])
    #expect(BootSectorPointers.ranges(sector, byteCount: place + 4096) == [place..<(place + 4096)])
    #expect(BootSectorPointers.ranges(sector, byteCount: place) == [])
    // Clusters above 64 KiB are a power of two: here 2 to the 8th sectors, and the table at cluster 0x6000.
    (sector[13], sector[48], sector[49], sector[50]) = (0xF8, 0, 0x60, 0)
    #expect(BootSectorPointers.ranges(sector, byteCount: 8 << 30) == [place..<(place + 65536)])
    for index in 48..<56 { sector[index] = 0xFF }
    #expect(BootSectorPointers.ranges(sector, byteCount: 8 << 30) == [])
  }

  @Test func anEmptyDiskHoldsNothing() throws {
    #expect(try probe(ContentSample(byteCount: 1 << 50)) == nil)
    #expect(ContentSample.endRanges(of: 512) == [0..<512])
    let headEnd: UInt64 = (4 << 20) + (64 << 10)
    let all: UInt64 = 5 << 20
    #expect(ContentSample.endRanges(of: all) == [0..<headEnd, headEnd..<all])
  }

  @Test func theSampleIsReadFromADisk() async throws {
    let image = try Image(mebibytes: 16, ["mkswap", "-L", "holiday"])
    let bytes = try image.bytes(0..<(16 << 20))
    try await PartitionRig.run(mebibytes: 32) { rig in
      rig.disk.content.replaceSubrange((3 << 20)..<(19 << 20), with: bytes)
      rig.disk.content[(19 << 20) - 1] = 7
      let sample = try await rig.volume.sampleContent((3 << 20)..<(19 << 20), .init())
      #expect(sample.byteCount == 16 << 20)
      #expect(sample.bytes(at: 0, count: 8192) == Array(bytes[..<8192]))
      #expect(sample.bytes(at: (16 << 20) - 2, count: 4) == [0, 7, 0, 0])
      rig.disk.failure = .init(.ioFailed)
      await #expect(throws: (any Error).self) { _ = try await rig.volume.sampleContent(0..<(1 << 20), .init()) }
    }
  }

  // MARK: The answer

  @Test func answersComeBackAsTheyWere() {
    let found = FoundContent(type: "ext4", usage: "filesystem", label: "a b\nc\"é", uuid: "0-1")
    #expect(ContentAnswer.decode(ContentAnswer.encode(found)) == .found(found))
    #expect(ContentAnswer.decode(ContentAnswer.encode(nil)) == .nothing)
  }

  @Test(
    arguments: [
      "", "end", "type 65\n", "type 65\nend", "type 6\nend\n", "type zz\nend\n", "type  65\nend\n", "type 65\ntype 65\nend\n",
      "label 65\nend\n",
      "colour 65\nend\n", "type 65\nend\nend\n", "type +1\nend\n", "type \nend\n",
    ])
  func whatMakesNoSenseIsNoAnswer(text: String) {
    #expect(ContentAnswer.decode(Array(text.utf8)) == .failed)
  }

  // MARK: The process

  private func probe(_ script: String, limitMilliseconds: Int = 10_000) throws(ContentProbe.Failure) -> FoundContent? {
    var sample = ContentSample(byteCount: 1 << 20)
    sample.add(Array("hello".utf8), at: 4096)
    return try ContentProbe(program: "/bin/sh", arguments: ["-c", script], limitMilliseconds: limitMilliseconds).content(of: sample)
  }

  @Test func theProcessHasTheSampleAndNothingElse() throws {
    // $0 is the sector size; 4 is the directory that ls reads.
    let script = """
      test "$0" = 512 && test "$(dd bs=1 skip=4096 count=5 <&3 2>/dev/null)" = hello && test "$(cat <&3 | wc -c)" = 1044475 &&
        test "$(ls /proc/self/fd | tr '\\n' ' ')" = '0 1 2 3 4 ' && test -z "$HOME" && printf 'type 65\\nend\\n'
      """
    #expect(try probe(script) == FoundContent(type: "e", usage: "other"))
  }

  /// It cannot be changed between two looks at it.
  @Test func theSampleIsSealed() throws {
    let script = """
      dd bs=1 count=1 conv=notrunc if=/dev/zero >&3 2>/dev/null; truncate -s 8 /proc/self/fd/3 2>/dev/null
      test "$(dd bs=1 skip=4096 count=5 <&3 2>/dev/null)" = hello && (printf x >&3) 2>/dev/null || printf 'type 65\\nend\\n'
      """
    #expect(try probe(script) == FoundContent(type: "e", usage: "other"))
  }

  /// The numbers that a descriptor has here and there may be the same.
  @Test func descriptorsOfAnyNumberReachTheProcess() throws {
    let input = clinux_memory_file("test")
    defer { close(input) }
    try #require(pwrite(input, "hello", 5, 0) == 5)
    let command = ["/bin/sh", "-c", "cat <&3"]
    var words: [UnsafeMutablePointer<CChar>?] = command.map { strdup($0) } + [nil]
    defer { for word in words { free(word) } }
    var moved: [Int32] = []
    defer { for descriptor in moved { close(descriptor) } }
    // All numbers from 90 on, as far as they are free.
    for _ in 0..<30 {
      var pipe: [Int32] = [0, 0]
      try #require(clinux_pipe(&pipe) == 0)
      let output = clinux_fcntl_int(pipe[1], F_DUPFD_CLOEXEC, 90)
      close(pipe[1])
      moved.append(output)
      let process = clinux_spawn_isolated("/bin/sh", &words, input, output)
      try #require(process > 0, "descriptor \(output): \(String(cString: strerror(-process)))")
      var status: Int32 = 0
      #expect(clinux_wait_for_end(process) == 0 && waitpid(process, &status, 0) == process && clinux_exit_status(status) == 0)
      var bytes = [UInt8](repeating: 0, count: 5)
      try #require(clinux_fcntl_int(pipe[0], F_SETFL, O_NONBLOCK) == 0)
      #expect(read(pipe[0], &bytes, 5) == 5 && bytes == Array("hello".utf8), "descriptor \(output)")
      close(pipe[0])
      lseek(input, 0, SEEK_SET)
    }
  }

  /// What it says of itself after it has been confined.
  @Test func theProcessIsConfined() throws {
    // Through a pipe: it can write to no file.
    let result = try Program.runBlocking(["sh", "-c", "'\(Program.built("confined"))' | cat"])
    func line(_ name: String) -> [Substring] {
      result.output.split(separator: "\n").first { $0.hasPrefix(name) }?.dropFirst(name.count).split { $0 == " " || $0 == "\t" } ?? []
    }
    #expect(line("NoNewPrivs:") == ["1"])
    #expect(line("Max processes").first == "0" && line("Max open files").first == "8" && line("Max file size").first == "0")
    #expect(line("Max core file size").first == "0" && line("Max cpu time").first == "5" && line("Max data size").first == "268435456")
    #expect(result.output.contains("\n1000\n"), "oom_score_adj")
    #expect(line("another process:") == ["Resource", "temporarily", "unavailable"])
    let mapping = try String(contentsOfFile: "/proc/self/uid_map", encoding: .utf8).split { $0.isWhitespace }.compactMap { UInt64($0) }
    if geteuid() == 0, mapping.count == 3, mapping[2] > 65534 {
      #expect(line("Uid:") == ["65534", "65534", "65534", "65534"] && line("Gid:").first == "65534" && line("Groups:").isEmpty)
      #expect(line("CapEff:") == ["0000000000000000"])
    } else {
      print("NOT SEEN: that the process becomes nobody, because these tests do not run as root")
    }
  }

  @Test(
    arguments: [
      ("kill -SEGV $$", "failed over what is there"), ("printf 'end\\n'; exit 1", "failed over what is there"),
      ("exit 0", "gave no answer"),
      ("printf 'end\\n'; exec >&-; kill -STOP $$", "failed over what is there"), ("yes", "said too much"),
    ])
  func aProcessThatGoesWrongIsAnError(script: String, error: String) {
    #expect { try probe(script) } throws: { "\($0)".contains(error) }
  }

  @Test func aProcessThatHangsIsEnded() throws {
    let began = ContinuousClock.now
    #expect { try probe("exec sleep 600", limitMilliseconds: 200) } throws: { "\($0)".contains("took longer") }
    #expect(ContinuousClock.now - began < .seconds(60))
  }
}
