// Package extauthztest plays the world around a check for tests and
// benchmarks: an issuer that mints every kind of token, good and bad. The
// product never imports it.
//
// A token is valid unless the test says otherwise:
//
//	iss := extauthztest.NewIssuer(t, "https://idp.example")
//	iss.Token(now)                                                // accepted
//	iss.Token(now, extauthztest.Claims{"exp": now.Unix() - 60})   // expired
//	iss.Token(now, extauthztest.Claims{"sub": extauthztest.Absent}) // no such member
//	iss.Token(now, extauthztest.Header{"typ": "JWT"})             // another kind
//	iss.Token(now, extauthztest.Key("rs256-1"))                   // another key of the issuer
//	iss.Sign([]byte(`{"alg":"ES256"}`), []byte(`{"iss":1,"iss":2}`)) // these very bytes, signed
//
// A client with a key of its own proves that it holds it:
//
//	client := extauthztest.NewProver(t, "ES256")
//	bound := iss.Token(now, extauthztest.DPoPBound(client.JKT))
//	client.Proof("GET", "https://api.example/x", bound, now)      // good once
//	client.Proof("GET", "https://api.example/x", bound, now, extauthztest.Claims{"jti": 7}) // changed like a token
package extauthztest
