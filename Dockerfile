# One image for the three processes: migrate, api and worker. Which one it is, the command says (docker-compose.yml).
# Node runs the TypeScript as it is, so nothing is built: the stages only keep npm's cache out of the image.

FROM node:24.21.0-bookworm-slim AS dependencies
WORKDIR /tollgate
COPY package.json package-lock.json .npmrc ./
# No install scripts: none of the production packages needs one here. The npm package `node` would fetch a second
# Node 24 of 100 MB; in this image the base has brought it.
RUN npm ci --omit=dev --ignore-scripts
# Temporal's package carries its native part for every platform, 30 MB each; this image is for Linux with glibc.
RUN find node_modules/@temporalio/core-bridge/releases -mindepth 1 -maxdepth 1 ! -name '*-unknown-linux-gnu' -exec rm -r {} +

FROM node:24.21.0-bookworm-slim
ENV NODE_ENV=production
WORKDIR /tollgate
# Everything stays root's and the processes run as `node`: they can read the code, and not change it.
COPY --from=dependencies /tollgate/node_modules ./node_modules
COPY package.json config.ts ./
COPY domain ./domain
COPY contract ./contract
COPY db ./db
COPY migrations ./migrations
COPY workflows ./workflows
COPY activities ./activities
COPY api ./api
COPY worker ./worker
USER node
# The exec form: node itself is the first process and gets SIGTERM. A shell there would keep it to itself, and every
# stop would be a kill after the grace, in the middle of requests and activities.
CMD ["node", "api/main.ts"]
