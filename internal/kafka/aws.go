package kafka

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/aws_msk_iam_v2"
)

// AWS says how to find credentials for Amazon MSK, beside what AWS's SDK reads by itself:
// the environment variables AWS_…, the files in ~/.aws, a web identity (EKS), and the
// roles of a container (ECS, EKS) or an instance (EC2), in this order.
type AWS struct {
	Region  string // of the cluster; empty: AWS_REGION or the profile's
	Profile string // of the files in ~/.aws; empty: AWS_PROFILE or default
}

// AWSMSKIAM returns the mechanism AWS_MSK_IAM of Amazon MSK: each connection sends a request
// that is signed with AWS credentials and valid for five minutes.
// https://github.com/aws/aws-msk-iam-auth#details
//
// It reads the files in ~/.aws, and asks for credentials that are not there only when a
// connection needs them. They are kept, and replaced before they expire.
func AWSMSKIAM(ctx context.Context, a AWS) (sasl.Mechanism, error) {
	c, err := config.LoadDefaultConfig(ctx, config.WithRegion(a.Region), config.WithSharedConfigProfile(a.Profile))
	if err != nil {
		return nil, fmt.Errorf("reading AWS's configuration: %w", err)
	}
	if c.Region == "" {
		return nil, errors.New("region: expected the cluster's region, such as eu-central-1, here or in AWS_REGION")
	}
	m := aws_msk_iam_v2.NewMechanism(c)
	m.Credentials = mskCredentials{c.Credentials}
	return m, nil
}

// mskCredentials adds to an error what is missing.
type mskCredentials struct{ provider aws.CredentialsProvider }

// Retrieve returns the credentials.
func (c mskCredentials) Retrieve(ctx context.Context) (aws.Credentials, error) {
	found, err := c.provider.Retrieve(ctx)
	if err != nil {
		return found, fmt.Errorf("no AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, kafka.sasl.aws.profile, or a role: %w", err)
	}
	return found, nil
}
