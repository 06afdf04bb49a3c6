import Measure
import Testing

@Suite struct HookClosureTests {
  private func streams(_ objective: String, _ hook: String, isParallel: Bool = false) throws -> [String] {
    try HookClosure.needs(objective: objective, hook: hook, isParallel: isParallel).map(\.stream)
  }

  @Test func localTrainingReadsItsHookAlone() throws {
    #expect(try streams("local", "blocks.3.hook_mlp_out") == ["tokens", "hooks/blocks.3.hook_mlp_out"])
    #expect(try streams("local", "any name") == ["tokens", "hooks/any name"])
  }

  @Test(arguments: [
    "blocks.0.hook_resid_pre", "blocks.2.hook_resid_mid", "blocks.3.hook_resid_post", "ln_final.hook_normalized",
    "hook_embed",
  ])
  func aResidualStreamIsAllThatFollowsDependsOn(hook: String) throws {
    #expect(try streams("e2e", hook) == ["tokens", "hooks/\(hook)"])
  }

  @Test(arguments: [
    ("blocks.1.hook_attn_out", false, ["blocks.1.hook_resid_pre"]),
    ("blocks.1.attn.hook_z", false, ["blocks.1.hook_resid_pre"]),
    ("blocks.1.hook_mlp_out", false, ["blocks.1.hook_resid_mid"]),
    ("blocks.1.mlp.hook_post", false, ["blocks.1.hook_resid_mid"]),
    ("blocks.1.hook_attn_out", true, ["blocks.1.hook_resid_pre", "blocks.1.hook_mlp_out"]),
    ("blocks.1.hook_mlp_out", true, ["blocks.1.hook_resid_pre", "blocks.1.hook_attn_out"]),
  ])
  func whatIsAddedToTheResidualStreamNeedsIt(hook: String, isParallel: Bool, others: [String]) throws {
    #expect(
      try streams("e2e", hook, isParallel: isParallel) == ["tokens", "hooks/\(hook)"] + others.map { "hooks/\($0)" })
  }

  @Test func whatNobodyKnowsIsRefused() {
    #expect(throws: MeasureError.invalid("objective kl is not known; known are local and e2e")) {
      try streams("kl", "hook_embed")
    }
    #expect(throws: MeasureError.invalid("resid is no hook point")) { try streams("e2e", "resid") }
  }
}
