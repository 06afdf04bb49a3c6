import Foundation
import TestSupport

/// The Python that other readers of our files run in: ACTCACHE_PYTHON, or python3 from PATH.
enum Python {
  struct Failure: Error, CustomStringConvertible {
    let description: String
  }

  private static let executable = ProcessInfo.processInfo.environment["ACTCACHE_PYTHON"] ?? "python3"

  /// Which of the modules that some test wants are there.
  static let modules: Set<String> = {
    let wanted = ["numpy", "zstandard", "torch", "pyzstd", "indexed_zstd"]
    let script = "import importlib.util as u, sys; print(*(m for m in sys.argv[1:] if u.find_spec(m)))"
    return Set(((try? run(script, wanted)) ?? "").split { $0.isWhitespace }.map(String.init))
  }()

  /// Whether Python/actcache.py can be imported.
  static let canRead = modules.isSuperset(of: ["numpy", "zstandard"])
  static let missing = "needs a python3 with numpy and zstandard; ACTCACHE_PYTHON names one"

  /// Runs a script, or a file if `script` ends in `.py`, with our reader on its path.
  /// - Returns: what it printed.
  @discardableResult
  static func run(_ script: String, _ arguments: [String]) throws -> String {
    String(decoding: try output(script, arguments), as: UTF8.self)
  }

  /// The same where it prints bytes.
  static func output(_ script: String, _ arguments: [String]) throws -> Data {
    let process = Process()
    let (output, errors) = (Pipe(), Pipe())
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    let program = script.hasSuffix(".py") ? [script] : ["-c", script]
    process.arguments = [executable, "-B"] + program + arguments
    process.environment = ProcessInfo.processInfo.environment.merging(
      ["PYTHONPATH": SharedInputs.packageRoot.appendingPathComponent("Python").path], uniquingKeysWith: { $1 })
    process.standardOutput = output
    process.standardError = errors
    try process.run()
    let printed = output.fileHandleForReading.readDataToEndOfFile()
    let complaints = errors.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    guard process.terminationStatus == 0 else {
      throw Failure(description: String(decoding: complaints, as: UTF8.self))
    }
    return printed
  }
}
