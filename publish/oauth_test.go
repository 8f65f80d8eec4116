package publish

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/internal/kafkatest"
)

// tokenServer is an OAuth 2.0 server with a token endpoint and its public keys.
type tokenServer struct {
	*httptest.Server
	key      *rsa.PrivateKey
	lifetime time.Duration
	issued   atomic.Int64 // tokens
	down     atomic.Bool  // the token endpoint answers 503
}

func newTokenServer(t *testing.T, lifetime time.Duration) *tokenServer {
	s := &tokenServer{lifetime: lifetime}
	var err error
	if s.key, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /jwks", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{"keys": []any{map[string]string{
			"kty": "RSA", "kid": "1", "use": "sig", "alg": "RS256",
			"n": base64.RawURLEncoding.EncodeToString(s.key.N.Bytes()), "e": "AQAB",
		}}})
	})
	mux.HandleFunc("POST /token", s.issue)
	s.Server = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

// issue answers a request for a token by the grant of client credentials.
func (s *tokenServer) issue(w http.ResponseWriter, r *http.Request) {
	id, secret, _ := r.BasicAuth()
	w.Header().Set("Content-Type", "application/json")
	switch {
	case s.down.Load():
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	case r.FormValue("grant_type") != "client_credentials", id != "bridge", secret != "s3cret", r.FormValue("scope") != "kafka write":
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = fmt.Fprint(w, `{"error":"invalid_client","error_description":"unknown client"}`)
		return
	}
	s.issued.Add(1)
	now := time.Now()
	part := func(v any) string {
		text, _ := json.Marshal(v)
		return base64.RawURLEncoding.EncodeToString(text)
	}
	signed := part(map[string]string{"alg": "RS256", "kid": "1", "typ": "JWT"}) + "." + part(map[string]any{
		"iss": s.URL, "aud": r.FormValue("audience"), "sub": id, "scope": "kafka write",
		"iat": now.Unix(), "exp": now.Add(s.lifetime).Unix(),
	})
	digest := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(nil, s.key, crypto.SHA256, digest[:])
	if err != nil {
		panic(err)
	}
	_ = json.NewEncoder(w).Encode(map[string]any{
		"access_token": signed + "." + base64.RawURLEncoding.EncodeToString(signature), "token_type": "Bearer", "expires_in": int(s.lifetime.Seconds()),
	})
}

// TestOAuthBearer publishes with tokens of a server in the test, whose signature,
// issuer, audience and lifetime a real broker checks. The broker closes connections whose
// token has expired, so that publishing for longer than a token's lifetime shows that
// tokens and connections are replaced.
func TestOAuthBearer(t *testing.T) {
	const lifetime = 6 * time.Second
	s := newTokenServer(t, lifetime)
	cluster := kafkatest.Start(t, kafkatest.Options{
		JavaOptions: []string{"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls=" + s.URL + "/jwks"},
		Listeners: []kafkatest.Listener{{Name: "OAUTH", Protocol: "SASL_PLAINTEXT", Settings: map[string]string{
			"sasl.enabled.mechanisms":                        "OAUTHBEARER",
			"oauthbearer.sasl.jaas.config":                   "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;",
			"oauthbearer.sasl.server.callback.handler.class": "org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler",
			"oauthbearer.connections.max.reauth.ms":          "3600000",
			"sasl.oauthbearer.jwks.endpoint.url":             s.URL + "/jwks",
			"sasl.oauthbearer.expected.issuer":               s.URL,
			"sasl.oauthbearer.expected.audience":             "kafka-cluster",
			"sasl.oauthbearer.clock.skew.seconds":            "1",
		}}},
	})
	client, hangUp := kafka.Config{Brokers: cluster.Bootstrap()}.Client()
	defer hangUp()
	if _, err := client.CreateTopics(t.Context(), &kafkago.CreateTopicsRequest{Topics: []kafkago.TopicConfig{{Topic: "a", NumPartitions: 1, ReplicationFactor: 1}}}); err != nil {
		t.Fatal(err)
	}
	right := kafka.OAuth{TokenURL: s.URL + "/token", ClientID: "bridge", ClientSecret: "s3cret", Scopes: []string{"kafka", "write"}, Audience: "kafka-cluster"}
	connect := func(t *testing.T, o kafka.OAuth) *Producer {
		m, err := kafka.OAuthBearer(o)
		if err != nil {
			t.Fatal(err)
		}
		return start(t, Config{Kafka: kafka.Config{Brokers: cluster.Listener("OAUTH"), SASL: m}})
	}
	publish := func(t *testing.T, p *Producer) error {
		_, err := p.Publish(kafkatest.Within(t, 5*time.Second), []kafka.Record{{Topic: "a", Key: []byte("k"), Value: []byte("v")}})
		return err
	}

	t.Run("refresh", func(t *testing.T) {
		p := connect(t, right)
		for begin := time.Now(); time.Since(begin) < 2*lifetime; time.Sleep(100 * time.Millisecond) {
			// The old token bridges a short outage of the token endpoint, and a new one follows.
			s.down.Store(time.Since(begin) > lifetime*6/10 && time.Since(begin) < lifetime*8/10)
			if err := publish(t, p); err != nil {
				t.Fatalf("after %s: %v", time.Since(begin), err)
			}
		}
		if n := s.issued.Load(); n < 2 || n > 6 {
			t.Errorf("%d tokens in two lifetimes of one, want 2 to 6", n)
		}
	})

	t.Run("refused", func(t *testing.T) {
		for name, test := range map[string]struct {
			change func(*kafka.OAuth)
			want   string
		}{
			"wrong secret":   {func(o *kafka.OAuth) { o.ClientSecret = "wrong" }, `it answers 401 Unauthorized, invalid_client "unknown client"`},
			"other scope":    {func(o *kafka.OAuth) { o.Scopes = nil }, "invalid_client"},
			"no such path":   {func(o *kafka.OAuth) { o.TokenURL = s.URL + "/elsewhere" }, "it answers 404 Not Found"},
			"no such server": {func(o *kafka.OAuth) { o.TokenURL = "http://127.0.0.1:1/token" }, "connection refused"},
			"wrong audience": {func(o *kafka.OAuth) { o.Audience = "another" }, "the broker refuses the token"},
		} {
			t.Run(name, func(t *testing.T) {
				o := right
				test.change(&o)
				err := publish(t, connect(t, o))
				if !errors.Is(err, kafka.ErrUnavailable) || !strings.Contains(err.Error(), "sasl OAUTHBEARER: ") || !strings.Contains(err.Error(), test.want) {
					t.Errorf("got %v, want an error with %q", err, test.want)
				}
				if err != nil && (strings.Contains(err.Error(), o.ClientSecret) || strings.Contains(err.Error(), "eyJ")) {
					t.Errorf("the error has a secret: %v", err)
				}
			})
		}
	})
}

// TestOAuthConfiguration: a configuration that cannot work, or would send the secret
// without TLS, is refused before any connection.
func TestOAuthConfiguration(t *testing.T) {
	right := kafka.OAuth{TokenURL: "https://sso.example.com/token", ClientID: "a", ClientSecret: "b", Extensions: map[string]string{"logicalCluster": "lkc-1"}}
	if _, err := kafka.OAuthBearer(right); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*kafka.OAuth){
		"token_url":     func(o *kafka.OAuth) { o.TokenURL = "sso.example.com" },
		"https":         func(o *kafka.OAuth) { o.TokenURL = "http://sso.example.com/token" },
		"client_secret": func(o *kafka.OAuth) { o.ClientSecret = "" },
		"client_id":     func(o *kafka.OAuth) { o.ClientID = "" },
		"extensions":    func(o *kafka.OAuth) { o.Extensions = map[string]string{"auth": "x"} },
		"printable":     func(o *kafka.OAuth) { o.Extensions = map[string]string{"a": "x\x01auth=Bearer y"} },
		"ca":            func(o *kafka.OAuth) { o.CA = "/nowhere" },
	} {
		o := right
		change(&o)
		if _, err := kafka.OAuthBearer(o); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v, want an error that names it", name, err)
		}
	}
}
