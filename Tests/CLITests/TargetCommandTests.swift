import Foundation
import TestSupport
import Testing

/// Teacher targets as a user meets them in `info`, `verify`, `dump` and `export`.
@Suite struct TargetCommandTests {
  @Test func targetsAreMeasuredRecomputedAndShown() throws {
    let folder = try TemporaryFolder()
    let cache = folder.path + "/cache"
    let harvest = try actcache(
      "harvest", "--model", "data/model", "--corpus", "data/stories.jsonl.zst", "--hook", "hook_embed",
      "ln_final.hook_normalized", "blocks.0.hook_resid_post", "blocks.1.hook_resid_post", "--context", "16", "--tokens",
      "512", "--logits", "hidden", "topk:4", "full", "--out", cache)
    #expect(harvest.status == 0, "\(harvest)")

    let info = try actcache("info", cache).output
    #expect(info.contains("bytes/value       FVU"), "\(info)")
    #expect(info.contains("FVU: part of the variance that rounding to dtype loses\n"))
    for line in [
      #/logits topk:4: [0-9.]+ bytes per token\n  tail mass r [0-9.e+-]+ \(most [0-9.e+-]+\); teacher's entropy [0-9.]+\n/#,
      #/  KL: too small by r·KL\(teacher ‖ student\) inside the tail, never too large; [0-9.e+-]+ \(most [0-9.e+-]+\) for a student that is uniform there, other students differ\n/#,
      #/  gradient by the logits: off by 2r in L1 at most, for every student: [0-9.e+-]+ \(most [0-9.e+-]+\)\n/#,
      #/  rounding: KL [0-9.e+-]+ \(most [0-9.e+-]+\) between the teacher and what is read\n  measured on 32 tokens, the rounding on 2\n/#,
      #/logits hidden: [0-9.]+ bytes per token\n  rounding: KL [0-9.e+-]+ \(most [0-9.e+-]+\) between the teacher and what is read, on 2 tokens\n/#,
      #/logits full: [0-9.]+ bytes per token\n  no tail: nothing is left out; teacher's entropy [0-9.]+\n  rounding: /#,
    ] { #expect(info.contains(line), "\(info)") }
    let manifest = try actcache("info", cache, "--json").output
    #expect(manifest.contains("\"fvu\" : ") && manifest.contains("\"uniformLossMax\" : "))

    let verify = try actcache("verify", cache, "--recompute", "3", "--model", "data/model")
    #expect(verify.status == 0, "\(verify)")
    for (policy, n) in [("full", 3 * 16 * 2050), ("topk:4", 3 * 16 * 6)] {
      let count = n > 1000 ? "98,400" : "288"
      // Haswell kernels do not give the same last bits in every batch.
      let line = try Regex(
        "recomputed: logits/\(policy) \\(targets\\): (all|[0-9,]+) of \(count) values of 3 sequences are exactly the model's"
      )
      #expect(verify.output.contains(line), "\(verify)")
    }
    #expect(
      verify.output.contains(#/recomputed: logits/hidden \(bf16\): (all|[0-9,]+) of /#)
        && !verify.output.contains("not recomputed"))
    #expect(verify.output.contains("\(cache): nothing is wrong (frames: "))

    let dump = try actcache("dump", cache, "--sequence", "3", "--model", "data/model", "--positions", "2").output
    #expect(
      dump.contains("logits/hidden  bf16, width 128  ") && dump.contains("logits/topk:4  \(cache)/logits/topk:4/"))
    #expect(dump.contains("position  token  entropy  tail mass  listed  most likely next tokens"), "\(dump)")

    let out = folder.path + "/x.npy"
    let hidden = try actcache("export", cache, "--hook", "hidden", "--to", "npy", "--out", out, "--training-only")
    #expect(hidden.status == 0 && hidden.output.contains(" × 16 × 128 f32, "), "\(hidden)")
    let targets = try actcache("export", cache, "--hook", "topk:4", "--to", "npy", "--out", out)
    #expect(targets.status == 64 && targets.errors.contains("--hook topk:4: targets are lists of tokens"), "\(targets)")
    let tokens = try actcache("export", cache, "--tokens", "--to", "npy", "--out", out, "--training-only")
    #expect(tokens.status == 0 && tokens.output.contains(" × 16 i32, "), "\(tokens)")

    let unknown = try actcache("export", cache, "--hook", "blocks.0.hook_resid_pots", "--to", "npy", "--out", out)
    #expect(
      unknown.status == 66
        && unknown.errors == "actcache: \(cache): no hook blocks.0.hook_resid_pots; did you mean "
          + "blocks.0.hook_resid_post? actcache info \(cache) lists all 4\n",
      "\(unknown)")
    let bench = try actcache("bench", "read", "--cache", cache, "--millions", "1", "--batch", "64")
    #expect(
      bench.errors.contains(
        "actcache: note: measured on blocks.0.hook_resid_post, the first of the cache's 4 hooks; --hook names another\n"
      ),
      "\(bench)")
  }
}
