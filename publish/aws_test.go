package publish

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/internal/kafkatest"
)

// mskUser is an AWS identity that the broker of [TestAWSMSKIAM] accepts.
type mskUser struct{ id, secret, token string }

// check returns what is wrong with a client's message, as Amazon MSK checks it:
// https://github.com/aws/aws-msk-iam-auth#details. The signature is AWS's version 4 of a
// request with its values in the query:
// https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
func (u mskUser) check(message []byte, host, region string, now time.Time) error {
	var m map[string]string
	if err := json.Unmarshal(message, &m); err != nil {
		return err
	}
	signed, err := time.Parse("20060102T150405Z", m["x-amz-date"])
	if err != nil || now.Sub(signed).Abs() > time.Minute {
		return fmt.Errorf("x-amz-date is %q", m["x-amz-date"])
	}
	scope := signed.Format("20060102") + "/" + region + "/kafka-cluster/aws4_request"
	want := map[string]string{
		"version": "2020_10_22", "host": host, "action": "kafka-cluster:Connect", "x-amz-algorithm": "AWS4-HMAC-SHA256", "x-amz-signedheaders": "host",
		"x-amz-credential": u.id + "/" + scope, "x-amz-security-token": u.token, "x-amz-expires": "300",
	}
	for name, value := range want {
		if m[name] != value {
			return fmt.Errorf("%s is %q, want %q", name, m[name], value)
		}
	}
	if m["user-agent"] == "" {
		return fmt.Errorf("there is no user-agent")
	}
	var query []string
	for name, key := range map[string]string{
		"Action": "action", "X-Amz-Algorithm": "x-amz-algorithm", "X-Amz-Credential": "x-amz-credential", "X-Amz-Date": "x-amz-date",
		"X-Amz-Expires": "x-amz-expires", "X-Amz-Security-Token": "x-amz-security-token", "X-Amz-SignedHeaders": "x-amz-signedheaders",
	} {
		if m[key] != "" {
			query = append(query, name+"="+strings.ReplaceAll(url.QueryEscape(m[key]), "+", "%20"))
		}
	}
	slices.Sort(query)
	empty := sha256.Sum256(nil)
	request := sha256.Sum256([]byte("GET\n/\n" + strings.Join(query, "&") + "\nhost:" + host + "\n\nhost\n" + hex.EncodeToString(empty[:])))
	key := []byte("AWS4" + u.secret)
	for _, part := range strings.Split(scope, "/") {
		key = hmacSHA256(key, part)
	}
	signature := hmacSHA256(key, "AWS4-HMAC-SHA256\n"+m["x-amz-date"]+"\n"+scope+"\n"+hex.EncodeToString(request[:]))
	if m["x-amz-signature"] != hex.EncodeToString(signature) {
		return fmt.Errorf("the signature is wrong")
	}
	return nil
}

func hmacSHA256(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// TestAWSMSKIAM publishes to a broker with TLS that recomputes the signature of each
// connection, with credentials that AWS's SDK finds in the environment and in a profile. The
// error of a refused or missing credential says so.
func TestAWSMSKIAM(t *testing.T) {
	environment := mskUser{"AKIDENVIRONMENT", "secret/of+the environment", "token/with+signs=="}
	profile := mskUser{"AKIDPROFILE", "secret of the profile", ""}
	dir := t.TempDir()
	credentials := filepath.Join(dir, "credentials")
	if err := os.WriteFile(credentials, fmt.Appendf(nil, "[kafka]\naws_access_key_id = %s\naws_secret_access_key = %s\n", profile.id, profile.secret), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_SESSION_TOKEN": "", "AWS_REGION": "", "AWS_DEFAULT_REGION": "", "AWS_PROFILE": "",
		"AWS_CONFIG_FILE": "/none", "AWS_SHARED_CREDENTIALS_FILE": credentials, "AWS_EC2_METADATA_DISABLED": "true",
	} {
		t.Setenv(name, value)
	}

	authority := newAuthority(t)
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "a"), kfake.TLS(authority.broker()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	authority.issue("client", nil)
	var mu sync.Mutex
	var accepted []string // ids
	cluster.ControlKey(int16(kmsg.SASLHandshake), func(r kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		a := r.ResponseKind().(*kmsg.SASLHandshakeResponse)
		if a.SupportedMechanisms = []string{"AWS_MSK_IAM"}; r.(*kmsg.SASLHandshakeRequest).Mechanism != "AWS_MSK_IAM" {
			a.ErrorCode = kerr.UnsupportedSaslMechanism.Code
		}
		return a, nil, true
	})
	cluster.ControlKey(int16(kmsg.SASLAuthenticate), func(r kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		a := r.ResponseKind().(*kmsg.SASLAuthenticateResponse)
		message := r.(*kmsg.SASLAuthenticateRequest).SASLAuthBytes
		var errs []error
		for _, u := range []mskUser{environment, profile} {
			err := u.check(message, "127.0.0.1", "eu-central-1", time.Now())
			if err == nil {
				mu.Lock()
				accepted = append(accepted, u.id)
				mu.Unlock()
				a.SASLAuthBytes = []byte(`{"version":"2020_10_22","request-id":"1"}`)
				return a, nil, true
			}
			errs = append(errs, err)
		}
		a.ErrorCode, a.ErrorMessage = kerr.SaslAuthenticationFailed.Code, kmsg.StringPtr(fmt.Sprint("Access denied: ", errs))
		return a, nil, true
	})

	publish := func(t *testing.T, from kafka.AWS) error {
		t.Helper()
		m, err := kafka.AWSMSKIAM(t.Context(), from)
		if err != nil {
			t.Fatal(err)
		}
		tls, err := kafka.TLS(authority.file("ca.pem"), authority.file("client.pem"), authority.file("client.key"), "")
		if err != nil {
			t.Fatal(err)
		}
		p := start(t, Config{Kafka: kafka.Config{Brokers: cluster.ListenAddrs(), TLS: tls, SASL: m}})
		_, err = p.Publish(kafkatest.Within(t, 5*time.Second), []kafka.Record{{Topic: "a", Key: []byte("k"), Value: []byte("v")}})
		return err
	}
	used := func(id string) bool {
		mu.Lock()
		defer mu.Unlock()
		found := slices.Contains(accepted, id)
		accepted = nil
		return found
	}
	if err := publish(t, kafka.AWS{Region: "eu-central-1", Profile: "kafka"}); err != nil || !used(profile.id) {
		t.Errorf("with a profile: %v", err)
	}
	t.Run("no credentials", func(t *testing.T) {
		if err := publish(t, kafka.AWS{Region: "eu-central-1"}); err == nil || !strings.Contains(err.Error(), "no AWS credentials: set AWS_ACCESS_KEY_ID") {
			t.Error(err)
		}
	})
	t.Setenv("AWS_ACCESS_KEY_ID", environment.id)
	t.Setenv("AWS_SECRET_ACCESS_KEY", environment.secret)
	t.Setenv("AWS_SESSION_TOKEN", environment.token)
	t.Run("another region", func(t *testing.T) {
		if err := publish(t, kafka.AWS{Region: "us-east-1"}); err == nil || !strings.Contains(err.Error(), "Access denied") {
			t.Error(err)
		}
	})
	t.Run("wrong secret", func(t *testing.T) {
		t.Setenv("AWS_SECRET_ACCESS_KEY", "another")
		if err := publish(t, kafka.AWS{Region: "eu-central-1"}); err == nil || !strings.Contains(err.Error(), "the signature is wrong") {
			t.Error(err)
		}
	})
	t.Setenv("AWS_REGION", "eu-central-1")
	if used(environment.id) {
		t.Error("a wrong signature was accepted")
	}
	if err := publish(t, kafka.AWS{}); err != nil || !used(environment.id) {
		t.Errorf("from the environment: %v", err)
	}
	if _, err := kafka.AWSMSKIAM(t.Context(), kafka.AWS{Region: "eu-central-1", Profile: "missing"}); err == nil || !strings.Contains(err.Error(), "missing") {
		t.Errorf("a profile that does not exist: %v", err)
	}
}
