package jose

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
)

// vector is one entry of testdata/vectors.json: samples of RFC 7515, 7519,
// 7520, 7638 and 8037, and single-fault cases made from them.
type vector struct {
	ID     string
	Kind   string
	Token  string
	JWK    json.RawMessage
	Expect struct {
		Thumbprint, URI    string
		Signature, Payload string
		Holdfast           string
	}
}

func TestVectors(t *testing.T) {
	doc, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []vector
	if err := json.Unmarshal(doc, &vectors); err != nil {
		t.Fatal(err)
	}
	if len(vectors) < 19 {
		t.Fatalf("only %d vectors", len(vectors))
	}
	for _, v := range vectors {
		t.Run(v.ID, func(t *testing.T) {
			switch v.Kind {
			case "jwk_thumbprint", "jwk_thumbprint_uri":
				v.thumbprint(t)
			case "jws_compact":
				v.compact(t)
			default:
				t.Fatalf("unknown kind %s", v.Kind)
			}
		})
	}
}

func (v *vector) thumbprint(t *testing.T) {
	obj, err := ParseObject(v.JWK)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ParseKey(obj)
	if err != nil {
		t.Fatal(err)
	}
	want := v.Expect.Thumbprint
	if v.Kind == "jwk_thumbprint_uri" {
		want = strings.TrimPrefix(v.Expect.URI, "urn:ietf:params:oauth:jwk-thumbprint:sha-256:")
	}
	if got := Thumbprint(key.Public); got != want {
		t.Errorf("thumbprint %s, want %s", got, want)
	}
}

// compact checks a token in the steps of Parse, as many payloads of the RFCs
// are no JSON objects.
func (v *vector) compact(t *testing.T) {
	token, payload, err := split(v.Token, MaxObjectBytes)
	if err == nil {
		err = token.judge()
	}
	switch {
	// A rule of ours outranks a signature that is right.
	case strings.Contains(v.Expect.Holdfast, "crit"):
		if !errors.Is(err, ErrMalformed) {
			t.Errorf("error is %v", err)
		}
		return
	case v.Expect.Holdfast != "" || strings.Contains(v.ID, "hs256"):
		if !errors.Is(err, ErrAlgorithm) {
			t.Errorf("error is %v", err)
		}
		return
	case err != nil:
		t.Fatal(err)
	}
	set, err := ParseKeySet(setOf(string(v.JWK)))
	if err != nil {
		t.Fatal(err)
	}
	_, err = set.Verify(token)
	if v.Expect.Signature == "invalid" {
		if !errors.Is(err, ErrSignature) {
			t.Errorf("error is %v", err)
		}
		return
	}
	if err != nil {
		t.Errorf("Verify: %v", err)
	}
	if v.Expect.Payload != "" && payload != v.Expect.Payload {
		t.Errorf("payload %q", payload)
	}
}
