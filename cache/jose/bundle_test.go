package jose

import "testing"

// TestBundle: of a SPIRE server's bundle the keys for JWT-SVIDs count, which
// name no alg; an X.509-SVID key, which has no kid, and one without use do not
// (providers 33). An ordinary set takes neither.
func TestBundle(t *testing.T) {
	es, rs := keyOf(t, "ES256").members, keyOf(t, "RS256").members
	bundle := setOf(
		jwk(t, rs, map[string]any{"use": "x509-svid", "x5c": []string{"MIIB"}}),
		jwk(t, es, map[string]any{"use": "jwt-svid", "kid": "svid"}),
		jwk(t, rs, map[string]any{"kid": "none"}),
		jwk(t, rs, map[string]any{"kid": "sig", "use": "sig"}),
	)
	set, err := ParseBundle(bundle)
	if err != nil {
		t.Fatal(err)
	}
	if keys := set.Keys(); len(keys) != 1 || keys[0].ID != "svid" || keys[0].Alg != "" {
		t.Errorf("keys %+v", keys)
	}
	plain, err := ParseKeySet(bundle)
	if err != nil {
		t.Fatal(err)
	}
	if keys := plain.Keys(); len(keys) != 2 || keys[0].ID != "none" || keys[1].ID != "sig" {
		t.Errorf("as a plain set: %+v", keys)
	}
	if _, err := ParseBundle(setOf(jwk(t, es, map[string]any{"use": "sig", "kid": "k"}))); err == nil {
		t.Error("a set without a key for JWT-SVIDs was taken for a bundle")
	}
}
