import { createTollgate } from '@tollgate/sdk';

const tollgate = createTollgate({ url: process.env.TOLLGATE_URL!, apiKey: process.env.TOLLGATE_KEY! });

// Your own work: its tokens are set aside before it, and what it used is charged after it. If it throws, they go back.
const leads = await tollgate.withTokens('generate_leads', async (held) => {
  held.use(4);
  return ['Acme Bicycles', 'Velo & Sons', 'Two Wheels', 'Chain Reaction'];
});
console.log(`${leads.length} leads`);

// Work that Tollgate does itself, as a workflow that survives whatever dies.
const goal = await tollgate.jobs.run('generate_goal', { industry: 'bicycles', horizonMonths: 6 });
console.log(goal.title);
