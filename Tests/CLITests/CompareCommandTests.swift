import Foundation
import TestSupport
import Testing

@Suite struct CompareCommandTests {
  private func run(_ arguments: [String], expecting status: Int32 = 0) throws -> Outcome {
    let outcome = try actcache(arguments)
    #expect(outcome.status == status, "\(arguments): \(outcome)")
    return outcome
  }

  @Test func runsWithTrainedHalfLayersAreEvaluatedWithThem() throws {
    let folder = try TemporaryFolder()
    let cache = folder.path + "/cache"
    let hook = "blocks.1.hook_resid_mid"
    _ = try run(
      ["harvest", "--model", "data/model", "--corpus", "data/stories.jsonl.zst", "--hook", hook]
        + ["--hook", "blocks.1.hook_resid_pre", "--context", "16", "--tokens", "1024", "--out", cache])
    func train(_ name: String, _ options: String...) throws -> String {
      let out = "\(folder.path)/\(name)"
      _ = try run(
        ["train", "--cache", cache, "--hook", hook, "--out", out, "--latents", "2x", "--k", "8", "--batch", "64"]
          + ["--tokens", "640"] + options)
      return out
    }
    let local = try train("local")
    let trained = try train("trained", "--objective", "non-intrusive", "--model", "data/model")
    func results(_ command: String, _ runs: String...) throws -> [[String: Any]] {
      let outcome = try run([command] + runs + ["--cache", cache, "--model", "data/model", "--json"])
      let object = try JSONSerialization.jsonObject(with: Data(outcome.output.utf8)) as? [String: Any]
      return try #require(object?["results"] as? [[String: Any]])
    }
    let found = try results("eval", local, trained)
    #expect(found[0]["alignmentTax"] is NSNull)
    let tax = try #require(found[1]["alignmentTax"] as? [String: Double])
    let original = try #require(found[1]["ceOriginal"] as? Double)
    #expect(tax.keys.sorted() == ["ce", "ceIncrease", "kl"] && tax["kl"] ?? 0 > 0)
    #expect(abs((tax["ce"] ?? 0) - original - (tax["ceIncrease"] ?? 1)) < 1e-9)
    #expect(found[0]["ceOriginal"] as? Double == original)

    let texts = try run(["eval", local, trained, "--cache", cache, "--model", "data/model", "--contexts", "1"]).output
    #expect(texts.contains("alignment tax: ") && texts.contains("KL without SAE"))
    #expect(try !run(["eval", local, "--cache", cache, "--model", "data/model"]).output.contains("alignment tax"))
    // What eval kept.
    let compare = ["compare", local, trained, "--cache", cache, "--resamples", "20"]
    #expect(try run(compare).output.contains("tax KL"))
    // Other half-layers are another evaluation.
    let file = URL(fileURLWithPath: trained + "/half-layers.safetensors")
    let whole = try Data(contentsOf: file)
    var other = whole
    other[other.count - 2] ^= 1
    try other.write(to: file)
    #expect(
      try run(compare, expecting: 66).errors
        == "actcache: \(trained): not evaluated on this cache yet; add --model MODEL\n")
    try whole.dropLast().write(to: file)
    let damaged = try run(compare + ["--model", "data/model"], expecting: 65)
    #expect(
      damaged.errors.contains("half-layers.safetensors: the trained half-layers are damaged: tensor "), "\(damaged)")
    try FileManager.default.removeItem(at: file)
    for command in [compare, ["eval", trained, "--cache", cache, "--model", "data/model"]] {
      #expect(
        try run(command, expecting: 66).errors
          == "actcache: \(file.path): no such file, but half-layers were trained with this SAE, which means nothing without "
          + "them; restore the file, or train the run again\n")
    }
  }

  @Test func sweepsAreComparedAndEvaluationsUsedAgain() throws {
    let folder = try TemporaryFolder()
    let cache = folder.path + "/cache"
    let hooks = ["blocks.1.hook_resid_post", "hook_embed"]
    _ = try run(
      ["harvest", "--model", "data/model", "--corpus", "data/stories.jsonl.zst", "--hook"] + hooks
        + ["--context", "16", "--tokens", "2048", "--out", cache])
    func train(_ name: String, _ options: String...) throws -> String {
      let out = "\(folder.path)/\(name)"
      _ = try run(
        ["train", "--cache", cache, "--out", out, "--latents", "2x", "--batch", "64", "--tokens", "1280"]
          + (options.contains("--hook") ? [] : ["--hook", hooks[0]]) + options)
      return out
    }
    let runs = [
      try train("k4", "--k", "4"), try train("k32", "--k", "32"), try train("r1", "--arch", "relu", "--l1", "0.1"),
    ]
    let compare = ["compare"] + runs + ["--cache", cache, "--resamples", "50"]
    let first = try run(compare, expecting: 66)
    #expect(first.errors == "actcache: \(runs[0]): not evaluated on this cache yet; add --model MODEL\n")
    let json = try run(compare + ["--model", "data/model", "--json"])
    let object = try #require(try JSONSerialization.jsonObject(with: Data(json.output.utf8)) as? [String: Any])
    #expect(object["groups"] as? [String] == ["local topk", "local topk", "local relu"])
    #expect((object["comparison"] as? [String: Any])?["resamples"] as? Int == 50)
    // Now all is in the folders, where another eval has put the same numbers.
    let again = try run(compare + ["--json"])
    #expect(again.output == json.output)
    let evaluated = try run(["eval", runs[0], "--cache", cache, "--model", "data/model"])
    #expect(evaluated.output.contains("top-1 same"))
    #expect(try run(compare).output.contains("CE increase, A: local topk, B: local relu"))
    // Fewer sequences are another evaluation.
    #expect(try run(compare + ["--sequences", "2"], expecting: 66).errors.contains("not evaluated on this cache yet"))

    let csv = try run(compare + ["--csv", "--group-by", "k", "--l0", "8"]).output.split(separator: "\n")
    #expect(csv[0] == "equal,at,group,over,quantity,hook,value,low,high")
    let alone = try run(["compare", runs[0], "--cache", cache])
    #expect(alone.output.contains("one group, local topk: nothing to compare it with"))

    // At equal CE increase one of another seed lies between the two.
    let between = try train("k16", "--k", "16", "--seed", "1")
    let pairs = try run(
      ["compare", runs[0], runs[1], between, "--cache", cache, "--model", "data/model", "--group-by", "seed"])
    let ratios = try #require(pairs.output.split(separator: "MSE of the residual streams after the hook, A / B").last)
    #expect(ratios.contains("  0 / 1 at ") && ratios.contains("\nblocks.2.hook_resid_post  "))

    let other = try train("embed", "--hook", hooks[1])
    let hook = try run(["compare", runs[0], other, "--cache", cache], expecting: 64)
    #expect(
      hook.errors
        == "actcache: \(runs[0]) is of \(hooks[0]), \(other) of \(hooks[1]); compare runs of one hook\n")
    let key = try run(compare + ["--group-by", "archh"], expecting: 64)
    #expect(key.errors.hasPrefix("actcache: no run has an option archh; did you mean arch? Known: cache, "))
    #expect(try run(compare + ["--json", "--csv"], expecting: 64).errors.contains("two kinds of output"))
    #expect(try run(["compare", runs[0], runs[0], "--cache", cache], expecting: 64).errors.contains("twice"))

    // Another model's run: its files say so.
    let path = URL(fileURLWithPath: runs[1] + "/sae/cfg.json")
    let text = try String(contentsOf: path, encoding: .utf8)
    let place = try #require(text.range(of: #""actcache_weights" : ""#))
    try text.replacingCharacters(
      in: place.upperBound..<text.index(place.upperBound, offsetBy: 12), with: "000000000000"
    )
    .write(to: path, atomically: true, encoding: .utf8)
    let model = try run(compare + ["--model", "data/model"], expecting: 65)
    #expect(
      model.errors.contains("\(runs[1]): the SAE was trained on the model of weights 000000000000, this one has"),
      "\(model)")

    try FileManager.default.removeItem(atPath: runs[2] + "/sae")
    #expect(
      try run(compare, expecting: 66).errors
        == "actcache: \(runs[2]): holds no finished SAE (sae/cfg.json); train it to its end, or leave it out\n")
    #expect(
      try run(["compare", folder.path + "/none", "--cache", cache], expecting: 66).errors
        == "actcache: \(folder.path)/none/config.yaml: no such file; give the folder of a run of `actcache train`\n")
  }

  /// What is kept of a run is its own evaluation, at the hooks it was trained on.
  @Test func evaluationsOfTranscodersAndOfFistaAreNotTakenForOthers() throws {
    let folder = try TemporaryFolder()
    let cache = folder.path + "/cache"
    let (hook, target) = ("blocks.1.hook_resid_post", "blocks.1.hook_mlp_out")
    _ = try run([
      "harvest", "--model", "data/model", "--corpus", "data/stories.jsonl.zst", "--hook", hook, target, "--context",
      "16", "--tokens", "2048", "--out", cache,
    ])
    func train(_ name: String, _ options: String...) throws -> String {
      let out = "\(folder.path)/\(name)"
      _ = try run(
        [
          "train", "--cache", cache, "--out", out, "--hook", hook, "--latents", "2x", "--batch", "64", "--tokens",
          "640", "--k", "4",
        ] + options)
      return out
    }
    let (own, made) = (try train("own"), try train("made", "--target-hook", target, "--skip"))
    let eval = ["eval", "--cache", cache, "--model", "data/model", "--sequences", "1"]
    let table = try run(eval + [own, made])
    #expect(table.output.contains("\(hook) → \(target)"), "\(table)")
    func kept(_ out: String) throws -> [String: Any] {
      let text = try #require(FileManager.default.contents(atPath: out + "/eval.json"))
      let object = try #require(try JSONSerialization.jsonObject(with: text) as? [String: Any])
      let evaluated = try #require(object["evaluated"] as? [String: Any])
      return try #require(evaluated["result"] as? [String: Any])
    }
    #expect(try kept(made)["targetHook"] as? String == target && kept(own)["targetHook"] == nil)

    // A run that has the name of what is measured.
    let named = own + " fista 2.0"
    try FileManager.default.createDirectory(atPath: named, withIntermediateDirectories: true)
    try FileManager.default.copyItem(atPath: own + "/sae", toPath: named + "/sae")
    let fista = try run(eval + [own, "--fista", "2", "--json"])
    let object = try #require(try JSONSerialization.jsonObject(with: Data(fista.output.utf8)) as? [String: Any])
    let results = try #require(object["results"] as? [[String: Any]])
    #expect(results.map { $0["architecture"] as? String } == ["topk", "fista"])
    #expect(try kept(own)["architecture"] as? String == "topk" && kept(own)["run"] as? String == own)
    #expect(!FileManager.default.fileExists(atPath: named + "/eval.json"))
    #expect(
      try run(eval + [made, "--fista", "2"], expecting: 64).errors.contains(
        "fista: \(made) is a transcoder, which has no"))

    let compare = ["compare", "--cache", cache, "--sequences", "1", "--resamples", "0"]
    #expect(
      try run(compare + [own, made], expecting: 64).errors
        == "actcache: \(own) is of \(hook), \(made) of \(hook) → \(target); compare runs of one hook\n")
    _ = try run(compare + [made])
    let path = URL(fileURLWithPath: made + "/sae/cfg.json")
    let text = try String(contentsOf: path, encoding: .utf8)
    try text.replacing(target, with: "blocks.0.hook_mlp_out").write(to: path, atomically: true, encoding: .utf8)
    #expect(try run(compare + [made], expecting: 66).errors.contains("not evaluated on this cache yet"))
  }
}
