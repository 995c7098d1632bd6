// Coverage-guided fuzzing of what parses bytes from outside. All targets are in one program, so that one build is enough; the environment's FUZZ_TARGET
// says which is run. libFuzzer comes with the toolchain, and brings `main` along. See run.sh.
import CLinux
import func Glibc.exit
import func Glibc.getenv

private typealias FuzzTarget = (UnsafeBufferPointer<UInt8>) -> Void

private func target(_ name: String) -> FuzzTarget? {
  switch name {
  case "partition-table": fuzzPartitionTable
  case "nbd-handshake": fuzzHandshake
  case "nbd-transmission": fuzzTransmission
  case "metadata": fuzzMetadata
  default: nil
  }
}

nonisolated(unsafe) private let chosen: FuzzTarget = {
  let name = getenv("FUZZ_TARGET").map { String(cString: $0) } ?? ""
  if let target = target(name) { return target }
  print("FUZZ_TARGET=\(name) is no target: see Tests/Fuzz/run.sh")
  exit(2)
}()

/// What libFuzzer calls: hands the bytes to the target, and sees that it leaves no memory behind.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOneInput(_ data: UnsafePointer<UInt8>?, _ count: Int) -> Int32 {
  MemoryGrowth.watch { chosen(UnsafeBufferPointer(start: data, count: count)) }
  return 0
}
