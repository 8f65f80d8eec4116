package consume

const LeaderCheckInterval = leaderCheckInterval
