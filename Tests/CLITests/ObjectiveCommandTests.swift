import Foundation
import TestSupport
import Testing

/// What `train`, `eval` and `compare` say where streams or files are missing, and whether what they advise works.
@Suite struct ObjectiveCommandTests {
  private let folder: TemporaryFolder
  /// Nothing that a shell leaves as it is.
  private let cache: String
  private let model: String

  init() throws {
    folder = try TemporaryFolder()
    cache = folder.path + "/the user's cache"
    model = folder.path + "/a model"
    try copyModel("\(SharedInputs.packageRoot.path)/data/model", to: model, changing: [:])
  }

  private func run(_ arguments: [String], expecting status: Int32 = 0) throws -> Outcome {
    let outcome = try actcache(arguments)
    #expect(outcome.status == status, "\(arguments): \(outcome)")
    return outcome
  }

  private func harvest(_ hooks: String..., dtype: String = "f32") throws {
    _ = try run(
      ["harvest", "--model", model, "--corpus", "data/stories.jsonl.zst", "--hook"] + hooks
        + ["--context", "16", "--tokens", "1024", "--dtype", dtype, "--out", cache])
  }

  private func training(_ out: String, hook: String, _ options: String...) -> [String] {
    ["train", "--cache", cache, "--hook", hook, "--out", "\(folder.path)/\(out)", "--latents", "2x", "--k", "8"]
      + ["--batch", "64", "--tokens", "128"] + options
  }

  /// Runs the command at the end of a message, as a shell reads it.
  private func runCommand(in message: String) throws {
    let command = try #require(message.firstRange(of: "actcache harvest").map { message[$0.lowerBound...] })
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/bin/sh")
    process.arguments = ["-c", String(command)]
    let folder = URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent().path
    process.environment = ProcessInfo.processInfo.environment.merging(["PATH": folder]) { $1 }
    process.currentDirectoryURL = SharedInputs.packageRoot
    process.standardOutput = FileHandle.nullDevice
    try process.run()
    process.waitUntilExit()
    #expect(process.terminationStatus == 0, "\(command)")
  }

  @Test func commandsThatAddWhatIsMissingRunAsTheyArePrinted() throws {
    try harvest("blocks.1.hook_resid_pre")
    let lacking = [
      training("logits", hook: "blocks.1.hook_resid_pre", "--objective", "e2e", "--teacher", "full"),
      training(
        "hook", hook: "blocks.1.hook_resid_pre", "--objective", "e2e+ds", "--downstream", "next", "--teacher", "full"),
      training("both", hook: "blocks.2.hook_attn_out", "--objective", "e2e", "--teacher", "hidden"),
    ]
    let added = [
      "--logits full", "--hook blocks.2.hook_resid_pre", "--hook blocks.2.hook_attn_out --logits hidden",
    ]
    let (model, place) = ("'\(model)'", "'\(folder.path)/the user'\\''s cache'")
    for (arguments, added) in zip(lacking, added) {
      let message = try run(arguments + ["--model", self.model], expecting: 66).errors
      let dtype = added == "--logits full" ? "" : " --dtype f32"
      #expect(
        message
          == "actcache: \(cache): this objective needs what the cache does not have; add it with: actcache harvest --model "
          + "\(model) \(added) --out \(place)\(dtype)\n")
      try runCommand(in: message)
      _ = try run(arguments + ["--model", self.model])
    }
    let info = try run(["info", cache]).output
    #expect(info.contains("f32") && !info.contains("bf16"), "\(info)")
    #expect(try run(["verify", cache]).output.contains("nothing is wrong"))
  }

  /// Without hooks and policies those of the cache are meant.
  @Test func aHarvestWithoutHooksIsOfThoseThatTheCacheHas() throws {
    let none = try run(["harvest", "--model", model, "--out", cache], expecting: 64)
    #expect(
      none.errors
        == "actcache: --hook (none): allowed are one or more hook names, or --logits alone (no cache is there yet)\n")
    try harvest("blocks.1.hook_resid_pre", "blocks.0.hook_resid_post")
    #expect(try run(["harvest", "--model", model, "--out", cache]).output.contains("was complete before"))
    _ = try run([
      "harvest", "--model", model, "--out", cache, "--corpus", "data/stories.jsonl.zst", "--context", "16", "--tokens",
      "1536",
    ])
    let info = try run(["info", cache]).output
    #expect(info.contains("\(cache): complete, generation 2\n"), "\(info)")
    #expect(!info.contains("bf16"), "\(info)")
  }

  @Test func anEvaluationThatLacksItsHookNamesTheCommandThatAddsIt() throws {
    try harvest("blocks.1.hook_resid_mid")
    let hook = "blocks.1.hook_resid_post"
    _ = try run(training("run", hook: hook, "--objective", "intrusive", "--model", model))
    let evaluate = ["eval", "\(folder.path)/run", "--cache", cache, "--model", model, "--contexts", "1"]
    let message = try run(evaluate, expecting: 66).errors
    #expect(
      message
        == "actcache: \(cache): no hook \(hook); the cache holds blocks.1.hook_resid_mid; to add it: actcache harvest "
        + "--model '\(model)' --hook \(hook) --out '\(folder.path)/the user'\\''s cache' --dtype f32\n")
    try runCommand(in: message)
    _ = try run(evaluate)
    // The other name of that stream.
    _ = try run(training("other", hook: "blocks.2.hook_resid_pre"))
    _ = try run(
      ["eval", "\(folder.path)/other", "--cache", cache, "--model", model, "--contexts", "1", "--fista", "1"]
        + ["--sequences", "1"])
  }

  @Test func filesAmongRunsAreLeftOut() throws {
    try harvest("blocks.1.hook_resid_pre")
    _ = try run(training("run", hook: "blocks.1.hook_resid_pre"))
    let (trained, stray) = ("\(folder.path)/run", "\(folder.path)/sweep.csv")
    try Data("run\n".utf8).write(to: URL(fileURLWithPath: stray))
    let note = "actcache: note: \(stray) is a file, not a run; it is left out\n"
    let options = ["--cache", cache, "--model", model, "--sequences", "1"]
    for command in ["eval", "compare"] {
      let both = try run([command, trained, stray] + options)
      #expect(both.errors.hasPrefix(note) && both.output.contains(trained), "\(both)")
      #expect(
        try run([command, stray] + options, expecting: 66).errors
          == "actcache: \(stray): a file, not the folder of a run; give the folder of a run of `actcache train`\n")
    }
    #expect(
      try run(["eval", folder.path + "/none"] + options, expecting: 66).errors
        == "actcache: \(folder.path)/none: no SAE there (sae/cfg.json or cfg.json); give the folder of a finished run of "
        + "`actcache train`, or one in SAELens' layout\n")
    let file = try run(
      ["train", "--cache", stray, "--hook", "h", "--out", trained, "--latents", "2x"], expecting: 66)
    #expect(file.errors == "actcache: \(stray): a file, not the folder of a cache; check the path\n")
  }

  @Test func aConfigurationThatWasCutShortIsSaidToBe() throws {
    try harvest("blocks.1.hook_resid_pre")
    let arguments = training("run", hook: "blocks.1.hook_resid_pre", "--batch", "32", "--checkpoint-steps", "1")
    _ = try run(arguments)
    let path = "\(folder.path)/run/config.yaml"
    let text = try String(contentsOf: URL(fileURLWithPath: path), encoding: .utf8)
    let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
    let batch = try #require(lines.firstIndex { $0.hasPrefix("batch:") })
    func resume(_ text: String) throws -> String {
      try text.write(toFile: path, atomically: true, encoding: .utf8)
      return try run(arguments + ["--resume"], expecting: 64).errors
    }
    let short = try resume(lines[..<batch].joined(separator: "\n") + "\n")
    #expect(
      short.hasSuffix(
        "actcache: \(path): cut short or edited: it lacks batch, optimizer, lr and 17 more keys; restore it, or choose another "
          + "--out\n"), "\(short)")
    let key = try resume(lines[..<batch].joined(separator: "\n") + "\nbat")
    #expect(key.contains("actcache: \(path): not YAML ("), "\(key)")
    #expect(try resume("") == "actcache: \(path): not a YAML mapping of names to values\n")
  }
}
