import BlockDevice
import Glibc

@main
enum SpaceportSim {
  static func main() {
    let arguments: Arguments
    do throws(Arguments.UsageError) { arguments = try Arguments(Array(CommandLine.arguments.dropFirst())) } catch {
      Output.complain("\(error). See spaceport-sim --help.")
      exit(2)
    }
    switch arguments.mode {
    case .help: Output.say(Arguments.help)
    case .listBugs: for bug in PlantedBug.allCases { Output.say(bug.rawValue) }
    default: run(arguments)
    }
  }

  private static func run(_ arguments: Arguments) {
    makeHashingRepeatable()
    PlantedBug.plant(arguments.bug)
    var runner = Runner(arguments)
    let isGood =
      switch arguments.mode {
      case .seeds(let range): runner.run(seeds: range)
      case .soak(let seconds, let first): runner.soak(seconds: seconds, first: first ?? UInt64.random(in: 1...1 << 40))
      case .exhaustive(let seed): runner.exhaustive(seed: seed)
      case .help, .listBugs: true
      }
    exit(isGood ? 0 : 1)
  }

  /// The standard library shuffles sets and dictionaries anew in each process, unless the environment says otherwise before the process
  /// starts. Nothing should depend on that; a replay must not rely on it.
  private static func makeHashingRepeatable() {
    let variable = "SWIFT_DETERMINISTIC_HASHING"
    if getenv(variable) != nil { return }
    setenv(variable, "1", 1)
    var words = CommandLine.arguments.map { strdup($0) }
    words.append(nil)
    execv("/proc/self/exe", words)
    Output.complain("cannot start itself anew (\(String(cString: strerror(errno)))); seeds may not repeat")
  }
}
