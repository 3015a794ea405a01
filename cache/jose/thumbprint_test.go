package jose

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// TestThumbprintIsOfTheKey: however a JWK is written, its key has one
// thumbprint, and it is the one that RFC 7638, 3 makes of the required members
// in the order of their names.
func TestThumbprintIsOfTheKey(t *testing.T) {
	for alg, order := range map[string][]string{
		"ES256": {"crv", "kty", "x", "y"}, "ES384": {"crv", "kty", "x", "y"}, "ES512": {"crv", "kty", "x", "y"}, // RFC 7638, 3.2
		"RS256": {"e", "kty", "n"},
		"EdDSA": {"crv", "kty", "x"}, // RFC 8037, 2
	} {
		t.Run(alg, func(t *testing.T) {
			members := keyOf(t, alg).members
			if names := slices.Sorted(maps.Keys(members)); !slices.Equal(names, order) {
				t.Fatalf("members %v", names)
			}
			parts := make([]string, len(order))
			for i, name := range order {
				parts[i] = fmt.Sprintf("%q:%q", name, members[name])
			}
			want := digestOf("{" + strings.Join(parts, ",") + "}")
			slices.Reverse(parts)
			escaped, err := json.Marshal(members)
			if err != nil {
				t.Fatal(err)
			}
			text := strings.Replace(string(escaped), `"kty"`, `"\u006bty"`, 1)
			for _, name := range order {
				value := members[name].(string)
				text = strings.Replace(text, fmt.Sprintf("%q:%q", name, value), fmt.Sprintf("%q:%s", name, `"\u00`+fmt.Sprintf("%02x", value[0])+value[1:]+`"`), 1)
			}
			for name, doc := range map[string]string{
				"bare":                    string(escaped),
				"alg, use, kid beside it": jwk(t, members, map[string]any{"use": "sig", "kid": "k", "key_ops": []string{"verify"}}),
				"the other way round":     "{ " + strings.Join(parts, " ,\n") + " }",
				"escaped":                 text,
				"members nobody knows":    jwk(t, members, map[string]any{"x5t": "AAAA", "ext": true}),
			} {
				obj, err := ParseObject([]byte(doc))
				if err != nil {
					t.Fatalf("%s: %v\n%s", name, err, doc)
				}
				key, err := ParseKey(obj)
				if err != nil {
					t.Fatalf("%s: %v\n%s", name, err, doc)
				}
				if got := Thumbprint(key.Public); got != want || len(got) != 43 {
					t.Errorf("%s: %q, want %q", name, got, want)
				}
			}
		})
	}
}

func digestOf(doc string) string {
	sum := sha256.Sum256([]byte(doc))
	return encode(sum[:])
}
