import Memory
import Testing

@Suite struct NearestNameTests {
  @Test func theNameOfTheFewestChangesIsMeant() {
    let hooks = ["blocks.0.hook_resid_mid", "blocks.0.hook_resid_post", "blocks.1.hook_resid_post"]
    #expect(nearest(to: "blocks.1.hook_resid_pots", among: hooks) == "blocks.1.hook_resid_post")
    #expect(nearest(to: "block.0.resid_mid", among: hooks) == "blocks.0.hook_resid_mid")
    #expect(nearest(to: "", among: hooks) == "blocks.0.hook_resid_mid" && nearest(to: "x", among: []) == nil)
  }
}
