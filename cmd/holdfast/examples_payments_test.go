package main

import (
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-authz/holdfast/extauthz/extauthztest"
)

// bank is what plays around the payments example.
type bank struct {
	*child
	issuer         *extauthztest.Issuer
	key            *extauthztest.Prover      // of the phone
	company, other *extauthztest.Certificate // of an ERP system, and of somebody else
}

const adminToken = "only-for-operators"

func startBank(t *testing.T) *bank {
	t.Helper()
	b := &bank{issuer: extauthztest.NewIssuer(t, idp), key: extauthztest.NewProver(t, "ES256")}
	b.company, b.other = extauthztest.NewCertificate(t, "erp"), extauthztest.NewCertificate(t, "other")
	b.child = startExample(t, "payments.yaml", map[string]string{"jwks.json": string(b.issuer.JWKS()), "admin.token": adminToken + "\n"})
	return b
}

// app is a request of the phone's, with a proof made some time ago.
func (b *bank) app(age time.Duration, method, path string, parts ...extauthztest.Part) extauthztest.Request {
	own := claims{"client_id": "bank-app", "scope": "accounts:read payments:write"}
	tok := b.issuer.Token(time.Now(), append([]extauthztest.Part{extauthztest.DPoPBound(b.key.JKT), own}, parts...)...)
	proof := b.key.Proof(method, "https://pay.example"+path, tok, time.Now().Add(-age))
	return request(method, path, "authorization", "DPoP "+tok, "dpop", proof)
}

// bearer is a request with a token that is bound to nothing, unless parts say so.
func (b *bank) bearer(client, method, path string, parts ...extauthztest.Part) extauthztest.Request {
	own := claims{"client_id": client, "scope": "accounts:read payments:write payments:batch"}
	return request(method, path, "authorization", "Bearer "+b.issuer.Token(time.Now(), append([]extauthztest.Part{own}, parts...)...))
}

// erp is a request of the company's machine, with its certificate: nobody has logged in.
func (b *bank) erp(method, path string, parts ...extauthztest.Part) extauthztest.Request {
	bound := []extauthztest.Part{extauthztest.CertificateBound(b.company.X5T), claims{"auth_time": extauthztest.Absent, "acr": extauthztest.Absent}}
	return by(b.company, b.bearer("erp", method, path, append(bound, parts...)...))
}

func TestPaymentsExample(t *testing.T) {
	b := startBank(t)
	auth := func(age time.Duration) claims { return claims{"auth_time": before(age)} }
	acr := func(level string) claims { return claims{"acr": level} }
	issued := func(age, left time.Duration) claims { return claims{"iat": before(age), "exp": before(-left)} }
	used := b.app(0, "POST", "/transfers")
	foreign := b.app(0, "POST", "/transfers", auth(6*time.Minute))
	foreign.Host = "other.example"
	b.try(
		trial{"a transfer", used, "ok", "app", "transfers"},
		trial{"the same once more", used, "dpop_replayed", "app", "transfers"},
		trial{"with a proof of 45 seconds ago", b.app(45*time.Second, "POST", "/transfers"), "dpop_expired", "app", "transfers"},
		trial{"after a login earlier", b.app(0, "POST", "/transfers", auth(6*time.Minute)), "auth_too_old", "app", "transfers"},
		trial{"then under another host's name", foreign, "auth_too_old", "app", "transfers"},
		trial{"then by a method that few think of", b.app(0, "PATCH", "/transfers/7", auth(6*time.Minute)), "auth_too_old", "app", "transfers"},
		trial{"without a second factor", b.app(0, "POST", "/transfers", acr("aal1")), "acr_insufficient", "app", "transfers"},
		trial{"without the scope", b.app(0, "POST", "/transfers", claims{"scope": "accounts:read"}), "scope_insufficient", "app", "transfers"},
		trial{"with a token of 6 minutes ago", b.app(0, "POST", "/transfers", issued(6*time.Minute, time.Minute)), "token_too_old", "app", "transfers"},
		trial{"a look at it with none of these", b.app(0, "GET", "/transfers/7", auth(30*time.Minute), acr("aal1")), "ok", "app", "look"},
		trial{"a new payee", b.app(0, "POST", "/payees", acr("aal3")), "ok", "app", "payees"},
		trial{"a new payee by SMS", b.app(0, "POST", "/payees"), "acr_insufficient", "app", "payees"},
		trial{"a new payee after a login earlier", b.app(0, "POST", "/payees", acr("aal3"), auth(3*time.Minute)), "auth_too_old", "app", "payees"},
		trial{"a path that nobody has thought of", b.app(0, "POST", "/limits"), "acr_insufficient", "app", "other"},
		trial{"that path after a login earlier", b.app(0, "POST", "/limits", acr("aal3"), auth(3*time.Minute)), "auth_too_old", "app", "other"},
		trial{"a path that is two", b.app(0, "POST", "/x/%2e%2e/transfers"), "path_ambiguous", "", ""},
		trial{"an app's token without a key", b.bearer("bank-app", "GET", "/accounts/1"), "binding_missing", "app", "look"},
		trial{"an app's token for an hour", b.app(0, "GET", "/accounts/1", issued(0, time.Hour)), "lifetime_too_long", "app", "look"},
		trial{"an app's session of 61 minutes", b.app(0, "GET", "/accounts/1", auth(61*time.Minute)), "session_expired", "app", "look"},
		trial{"an app's batch", b.app(0, "POST", "/batches/7", claims{"scope": "payments:batch"}), "binding_missing", "app", "batches"},
		trial{"a company's batch", b.erp("POST", "/batches/7"), "ok", "corporate", "batches"},
		trial{"with another certificate", by(b.other, b.erp("POST", "/batches/7")), "binding_mismatch", "corporate", "batches"},
		trial{"with an old token", b.erp("POST", "/batches/7", issued(11*time.Minute, 5*time.Minute)), "token_too_old", "corporate", "batches"},
		trial{"without the scope", b.erp("POST", "/batches/7", claims{"scope": "payments:write"}), "scope_insufficient", "corporate", "batches"},
		trial{"a company's transfer by nobody", b.erp("POST", "/transfers"), "auth_too_old", "corporate", "transfers"},
		trial{"a company's token for two hours", b.erp("GET", "/accounts/1", issued(0, 2*time.Hour)), "lifetime_too_long", "corporate", "look"},
		trial{"a company's token without a certificate", b.bearer("erp", "GET", "/accounts/1"), "binding_missing", "corporate", "look"},
		trial{"an unknown client", b.bearer("shop", "GET", "/accounts/1"), "class_unknown", "", "look"},
	)

	if status, _ := b.http("POST", "/v1/revocations", `{"kind":"session","value":"s","issuer":"`+idp+`"}`); status != http.StatusUnauthorized {
		t.Errorf("a revocation by anybody: %d", status)
	}
	b.revokeOf("binding_key", b.key.JKT, idp, "authorization", "Bearer "+adminToken)
	b.try(
		trial{"a stolen phone", b.app(0, "POST", "/transfers"), "binding_key_revoked", "app", "transfers"},
		trial{"a stolen phone, only looking", b.app(0, "GET", "/accounts/1"), "binding_key_revoked", "app", "look"},
		trial{"a company", b.erp("POST", "/batches/7"), "ok", "corporate", "batches"},
	)
	recorded, err := os.ReadFile("decisions.log")
	if got := strings.Count(string(recorded), `"decision":"allow"`); err != nil || got != 5 {
		t.Errorf("%d of 5 that were let through are in the log (%v):\n%s", got, err, recorded)
	}
	b.stale(map[string][]func() extauthztest.Request{
		extauthztest.VerdictError: {func() extauthztest.Request { return b.erp("GET", "/accounts/1") }},
		extauthztest.VerdictDenied: {
			func() extauthztest.Request { return b.erp("POST", "/transfers") },
			func() extauthztest.Request { return b.erp("POST", "/payees") },
			func() extauthztest.Request { return b.erp("POST", "/batches/7") },
		},
	})
}

// TestPaymentsWatched: of the class that is being moved over, what enforce
// would say is recorded, and let through; a route that enforces still does.
func TestPaymentsWatched(t *testing.T) {
	b := startBank(t)
	watch := func(what string, r extauthztest.Request, reason string, enforced bool) {
		t.Helper()
		a := b.askFor(r)
		verdict := extauthztest.VerdictOK
		if enforced {
			verdict = extauthztest.VerdictDenied
		}
		if a.Reason() != reason || a.Verdict != verdict || a.Decision() != "deny" || a.Metadata["enforced"] != enforced {
			t.Errorf("%s: %v, %s, enforced %v; want %s, %s", what, a, a.Decision(), a.Metadata["enforced"], reason, verdict)
		}
	}
	partner := func(method, path string, parts ...extauthztest.Part) extauthztest.Request {
		return by(b.company, b.bearer("acme-gateway", method, path, append([]extauthztest.Part{claims{"acr": "aal3"}}, parts...)...))
	}
	bound := extauthztest.CertificateBound(b.company.X5T)
	forged := request("POST", "/transfers", "authorization", "Bearer "+extauthztest.Forge(b.issuer.Token(time.Now())))
	watch("a partner without a proof", partner("GET", "/accounts/1"), "binding_missing", false)
	watch("its transfer", partner("POST", "/transfers"), "binding_missing", false)
	watch("its new payee", partner("POST", "/payees"), "binding_missing", true)
	watch("its token for two hours", partner("GET", "/accounts/1", bound, claims{"exp": before(-2 * time.Hour)}), "lifetime_too_long", false)
	watch("a forged token", forged, "signature_invalid", true)
	watch("no token", request("POST", "/transfers"), "credential_missing", true)
	b.try(
		trial{"a partner that is ready", partner("POST", "/transfers", bound), "ok", "partner", "transfers"},
		trial{"its new payee", partner("POST", "/payees", bound), "ok", "partner", "payees"},
	)
	b.revokeOf("client", "acme-gateway", idp, "authorization", "Bearer "+adminToken)
	watch("a revoked partner", partner("POST", "/transfers", bound), "client_revoked", false)
	watch("its new payee", partner("POST", "/payees", bound), "client_revoked", true)
}
