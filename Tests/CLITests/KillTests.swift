import Foundation
import TestSupport
import Testing

#if !DEBUG
  /// Real processes, really killed.
  @Suite struct KillTests {
    /// The program; killed when the value is let go of.
    private final class Harvest {
      let process = Process()

      init(_ out: String, worker: String) throws {
        process.executableURL = URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent()
          .appendingPathComponent("actcache")
        process.arguments = [
          "harvest", "--model", "data/model", "--corpus", "data/stories.jsonl.zst", "--hook",
          "blocks.0.hook_resid_post", "blocks.2.hook_mlp_out", "--context", "32", "--tokens", "65536",
          "--shard-tokens", "2048", "--worker", worker, "--threads", "1", "--out", out, "--json",
        ]
        process.currentDirectoryURL = SharedInputs.packageRoot
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        try process.run()
      }

      func kill() {
        Foundation.kill(process.processIdentifier, SIGKILL)
        process.waitUntilExit()
      }

      /// The exit code.
      func finish() -> Int32 {
        process.waitUntilExit()
        return process.terminationStatus
      }
    }

    private func tree(_ folder: String) throws -> [String: Data] {
      var files: [String: Data] = [:]
      for path in try FileManager.default.subpathsOfDirectory(atPath: folder)
      where !path.contains("/.") && !path.hasPrefix(".") {
        files[path] = FileManager.default.contents(atPath: folder + "/" + path)
      }
      return files
    }

    /// ACTCACHE_KILLS asks for more than the 60 of every day.
    private var nKills: Int { ProcessInfo.processInfo.environment["ACTCACHE_KILLS"].flatMap(Int.init) ?? 60 }

    @Test func killedHarvestsOfSeveralWorkersEndInTheSameCache() throws {
      let folder = try TemporaryFolder()
      let seed = UInt64.random(in: 0 ... .max)
      print("kills with seed \(seed)")
      var generator = SeededGenerator(seed: seed)
      let start = Date()
      #expect(try Harvest(folder.path + "/whole", worker: "0/1").finish() == 0)
      let whole = try tree(folder.path + "/whole")
      // From before the first file to after the last.
      let longest = Date().timeIntervalSince(start) * 1.2
      var (nKilled, nMidway, nRounds) = (0, 0, 0)
      while nKilled < nKills {
        let out = folder.path + "/round-\(nRounds)"
        nRounds += 1
        for _ in 0..<5 {
          let workers = try (0..<3).map { try Harvest(out, worker: "\($0)/3") }
          for worker in workers.shuffled(using: &generator) {
            Thread.sleep(forTimeInterval: .random(in: 0...longest, using: &generator) / 2)
            if worker.process.isRunning { nKilled += 1 }
            worker.kill()
          }
          let receipts = FileManager.default.subpaths(atPath: out + "/receipts")?.filter { $0.hasSuffix(".json") } ?? []
          if (1..<96).contains(receipts.count) { nMidway += 1 }
          // Whatever is there is whole.
          for receipt in receipts where !receipt.contains("/.") {
            #expect(
              try Data(contentsOf: URL(fileURLWithPath: out + "/receipts/" + receipt)) == whole["receipts/" + receipt])
            let shard = receipt.replacing(".json", with: ".zst")
            let found = try Data(contentsOf: URL(fileURLWithPath: out + "/" + shard))
            // Megabytes: their difference, byte by byte, would take minutes.
            let isSame = found == whole[shard]
            #expect(isSame, "\(shard)")
          }
        }
        // One after the other, so that one of them finds everything.
        for worker in 0..<3 { #expect(try Harvest(out, worker: "\(worker)/3").finish() == 0) }
        #expect(try tree(out) == whole, "round \(nRounds)")
        try FileManager.default.removeItem(atPath: out)
      }
      print("\(nKilled) processes killed in \(nRounds) rounds, \(nMidway) times with a part of the cache written")
      #expect(nMidway > 0)
    }
  }
#endif
