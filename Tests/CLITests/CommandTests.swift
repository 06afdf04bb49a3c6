import Foundation
import TestSupport
import Testing

/// The program as a user meets it: the binary that was built beside these tests.
@Suite struct CommandTests {
  @Test(arguments: [
    "", "harvest", "train", "sweep", "eval", "compare", "encode", "info", "ls", "verify", "repair", "index", "gc",
    "export",
    "dump",
    "plan", "bench", "doctor",
  ])
  func everyCommandHasHelp(command: String) throws {
    let help = try command.isEmpty ? actcache("--help") : actcache(command, "--help")
    #expect(help.status == 0 && help.output.contains("USAGE: actcache"), "\(help)")
  }

  @Test func errorsGoToStandardErrorWithTheirExitCodes() throws {
    let folder = try TemporaryFolder()
    let missing = try actcache("info", folder.path + "/none")
    #expect(missing.status == 66 && missing.output.isEmpty && missing.errors.hasPrefix("actcache: "), "\(missing)")
    #expect(try actcache("train", "--hook", "h", "--out", "o").status == 64)
    #expect(try actcache("train", "--threads", "0").status == 64)
    #expect(try actcache("nonsense").status == 64)
    let hook = try actcache(
      "harvest", "--model", "data/model", "--corpus", "data/stories.jsonl.zst", "--hook", "blocks.9.hook_resid_post",
      "--out",
      folder.path + "/c")
    #expect(hook.status == 64 && hook.errors.contains("valid: hook_embed"), "\(hook)")
    let model = try actcache(
      "harvest", "--model", folder.path, "--corpus", "data/stories.jsonl.zst", "--hook", "hook_embed", "--out",
      folder.path + "/c")
    #expect(model.status == 66, "\(model)")
  }

  @Test func negativeNumbersAreRefusedWithWhatIsAllowed() throws {
    func train(_ options: String...) throws -> Outcome {
      try actcache(["train", "--cache", "c", "--hook", "h", "--out", "o"] + options)
    }
    let clip = try train("--clip", "-1")
    #expect(clip.status == 64)
    #expect(
      clip.errors == "actcache: clip is -1.0; expected a finite number, 0 or more (0 switches it off)\n", "\(clip)")
    #expect(try train("--lr", "-1e-3").errors == "actcache: lr is -0.001; it must be positive, or auto\n")
    #expect(try train("--batch", "-5").errors == "actcache: batch is -5; 1 to 1,048,576 are allowed\n")
    // What is no number is missing, as before.
    #expect(try train("--lr", "--json").errors.contains("Missing value for '--lr"))
  }

  #if os(Linux)
    @Test func resultsThatCannotBeWrittenAreAnError() throws {
      let process = program(["doctor", "--json"])
      let errors = Pipe()
      process.standardOutput = FileHandle(forWritingAtPath: "/dev/full")
      process.standardError = errors
      try process.run()
      let text = String(decoding: errors.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
      process.waitUntilExit()
      #expect(process.terminationStatus == 74, "\(text)")
      #expect(text.contains("standard output: write failed: No space left on device"), "\(text)")
    }
  #endif

  @Test func harvestTakesTheShareThatItsLauncherNames() throws {
    let folder = try TemporaryFolder()
    let harvest = [
      "harvest", "--corpus", "data/stories.jsonl.zst", "--hook", "hook_embed", "--context", "16", "--tokens", "1024",
      "--shard-tokens", "512", "--out", folder.path + "/c", "--json", "--model",
    ]
    let shared = try actcache(
      harvest + ["data/model"], environment: ["JOB_COMPLETION_INDEX": "1", "JOB_COMPLETIONS": "2"])
    #expect(shared.status == 0 && shared.output.contains(#""outcome" : "workerDone""#), "\(shared)")
    #expect(shared.errors.hasPrefix("actcache: worker 1 of 2 (JOB_COMPLETION_INDEX)\n"), "\(shared)")
    // Before the model is looked for.
    let half = try actcache(harvest + [folder.path + "/none"], environment: ["JOB_COMPLETION_INDEX": "1"])
    #expect(half.status == 64 && half.errors.hasPrefix("actcache: JOB_COMPLETIONS is not set, "), "\(half)")
  }

  @Test func theMainJobRunsAndItsJSONParses() throws {
    let folder = try TemporaryFolder()
    let (cache, run) = (folder.path + "/cache", folder.path + "/run")
    func json(_ outcome: Outcome) throws -> [String: Any] {
      #expect(outcome.status == 0, "\(outcome)")
      return try #require(try JSONSerialization.jsonObject(with: Data(outcome.output.utf8)) as? [String: Any])
    }
    let harvest = [
      "harvest", "--model", "data/model", "--corpus", "data/stories.jsonl.zst", "--hook", "blocks.1.hook_resid_post",
      "--context", "16", "--tokens", "1024", "--out", cache, "--json",
    ]
    func harvested() throws -> [String: Any] { try json(actcache(harvest)) }
    #expect(try harvested()["outcome"] as? String == "finished")
    #expect(try harvested()["outcome"] as? String == "alreadyComplete")
    let trained = try json(
      actcache(
        "train", "--cache", cache, "--hook", "blocks.1.hook_resid_post", "--out", run, "--latents", "2x", "--k", "4",
        "--batch", "64", "--tokens", "640", "--json"))
    #expect(trained["outcome"] as? String == "finished")
    let evaluated = try json(actcache("eval", run, "--cache", cache, "--model", "data/model", "--json"))
    let results = try #require(evaluated["results"] as? [[String: Any]])
    #expect(try #require(results.first?["l0"] as? Double) <= 4)
    #expect(try actcache("info", cache).output.contains("64 sequences of 16 tokens"))
  }

  @Test func trainingReadsAsItIsTold() throws {
    let folder = try TemporaryFolder()
    let (cache, hook) = (folder.path + "/cache", "blocks.1.hook_resid_post")
    let harvest = try actcache(
      "harvest", "--model", "data/model", "--corpus", "data/stories.jsonl.zst", "--hook", hook, "--context", "16",
      "--tokens", "1024", "--held-out", "0", "--bos", "--out", cache)
    #expect(harvest.status == 0, "\(harvest)")
    func train(_ run: String, _ options: String...) throws -> Outcome {
      try actcache(
        ["train", "--cache", cache, "--hook", hook, "--out", "\(folder.path)/\(run)", "--latents", "2x", "--k", "4"]
          + ["--batch", "64", "--tokens", "640", "--json"] + options)
    }
    func tokensPerEpoch(_ outcome: Outcome) throws -> Int? {
      #expect(outcome.status == 0, "\(outcome)")
      return try (JSONSerialization.jsonObject(with: Data(outcome.output.utf8)) as? [String: Any])?["tokensPerEpoch"]
        as? Int
    }
    #expect(
      try tokensPerEpoch(train("a", "--io", "pread", "--memory", "1MiB", "--window", "512KiB")) == 1024)
    #expect(try tokensPerEpoch(train("b", "--skip-positions", "4")) == 64 * 12)
    let bos = try #require(try tokensPerEpoch(train("c", "--skip-bos")))
    #expect(bos < 1024 && bos >= 1024 - 2 * 64)
    let metrics = try String(contentsOfFile: folder.path + "/a/metrics.jsonl", encoding: .utf8)
    #expect(metrics.contains(#""sequences":"#) && metrics.contains(#""sequencesExpected":"#))

    let shard = try #require(
      FileManager.default.contentsOfDirectory(atPath: cache + "/hooks/" + hook).first { $0.hasSuffix(".zst") })
    let url = URL(fileURLWithPath: "\(cache)/hooks/\(hook)/\(shard)")
    var bytes = try Data(contentsOf: url)
    bytes[5000] ^= 1
    try bytes.write(to: url)
    #expect(try train("d").status == 65)
    let skipping = try train("e", "--on-corrupt", "skip")
    #expect(try tokensPerEpoch(skipping) == 768)
    #expect(
      skipping.errors.hasPrefix(
        "actcache: note: frames left out as damaged: 1, with 16 sequences; data.json lists them. The first: "),
      "\(skipping)")
    // Mended, the run is still the one without the frame.
    bytes[5000] ^= 1
    try bytes.write(to: url)
    #expect(try train("e", "--on-corrupt", "skip").output.contains(#""outcome" : "alreadyFinished""#))
    #expect(try train("f", "--on-corrupt", "ignore").status == 64)
    #expect(try train("f", "--memory", "1MB").errors.contains("memory is 1MB; expected bytes such as"))
  }

  @Test func benchesAndPlansSayWhatTheyLack() throws {
    let folder = try TemporaryFolder()
    #expect(try actcache("bench", "read", "--cache", folder.path + "/none").status == 66)
    #expect(try actcache("bench", "--cache", "c", "--out", "picture.png").errors.contains(".svg or .html"))
    let config = folder.path + "/train.yaml"
    try Data("cache: \(folder.path)/cache\nhook: h\nk: [1, 2]\n".utf8).write(to: URL(fileURLWithPath: config))
    let plan = try actcache("plan", "--config", config, "--sweep")
    #expect(plan.status == 64 && plan.errors.contains("no cache there yet; add --model"), "\(plan)")
    #expect(try actcache("plan", "--config", config, "--model", "data/model").status == 64, "lists need --sweep")
    #expect(try actcache("plan", "--config", config, "--sweep", "--runs", "2").status == 64)
    #expect(try actcache("plan", "--config", folder.path + "/none.yaml").status == 66)
  }

  // In debug the model would take minutes.
  #if !DEBUG
    @Test func benchesPrintJSONAndDrawAPicture() throws {
      let folder = try TemporaryFolder()
      let picture = folder.path + "/bench.html"
      let harvest = try actcache(
        "bench", "harvest", "--tokens", "8192", "--scratch", folder.path, "--json", "--out", picture)
      let report = try #require(
        try JSONSerialization.jsonObject(with: Data(harvest.output.utf8)) as? [String: Any], "\(harvest)")
      #expect(((report["harvest"] as? [String: Any])?["lanes"] as? [Any])?.count == 3)
      #expect(isWellFormedXML(try String(contentsOfFile: picture, encoding: .utf8)))
      #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path) == ["bench.html"])
      let codec = try actcache(
        "bench", "codec", "--tokens", "2048", "--dtype", "bf16", "fix:6", "--scratch", folder.path)
      #expect(codec.status == 0 && codec.output.contains("fix:6  zstd:1"), "\(codec)")
    }
  #endif
}
